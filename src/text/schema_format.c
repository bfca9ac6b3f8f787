/* schema_format -- the string formats of JSON Schema as patterns (RFC 3339, 3986, 4122, 4291, 5321, 1123 ...).
 *
 * Names that no specification defines are annotations, as 2020-12 has it, and ignored. Formats that it
 * defines and a pattern cannot say (idn-*, iri*) are refused. */
#include "text/schema_impl.h"

#include <string.h>

#define DATE31 "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
#define DATE30 "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
#define LEAP "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
#define DATE "([0-9]{4}-(" DATE31 "|" DATE30 "|02-(0[1-9]|1[0-9]|2[0-8]))|" LEAP ")"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
#define HOST LABEL "(\\." LABEL ")*"
#define OCTET "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 OCTET "(\\." OCTET "){3}"
#define H "[0-9a-fA-F]{1,4}"
#define IPV6 "((" H ":){7}" H "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){1,2}|(" H ":){1,4}(:" \
        H "){1,3}" \
             "|(" H ":){1,3}(:" H "){1,4}|(" H ":){1,2}(:" H "){1,5}|" H ":(:" H "){1,6}|:((:" H "){1,7}|:)" \
             "|(" H ":){6}" IPV4 "|::(" H ":){0,5}" IPV4 "|(" H ":){1,5}:" IPV4 "|(" H ":){1,4}(:" H "){1,1}:" IPV4 ")"
#define PCHAR "([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})"
#define QUERY "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define REGNAME "([a-zA-Z0-9._~!$&'()*+,;=-]|%[0-9a-fA-F]{2})*"
#define USER "(([a-zA-Z0-9._~!$&'()*+,;=:-]|%[0-9a-fA-F]{2})*@)?"
#define AUTHORITY "//" USER "(\\[[0-9a-fA-F:.]+\\]|" REGNAME ")(:[0-9]*)?(/" PCHAR "*)*"
#define URI "[a-zA-Z][a-zA-Z0-9+.-]*:(" AUTHORITY "|/(" PCHAR "+(/" PCHAR "*)*)?|" PCHAR "+(/" PCHAR "*)*|)" QUERY
#define SEGMENT "([a-zA-Z0-9._~!$&'()*+,;=@-]|%[0-9a-fA-F]{2})+"
#define RELATIVE "(" AUTHORITY "|/(" PCHAR "+(/" PCHAR "*)*)?|" SEGMENT "(/" PCHAR "*)*|)" QUERY
#define ATOM "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
#define N "[0-9]+"

static const struct {
    const char *name, *pattern; /* NULL: defined, and not enforced: refused */
} formats[] = {
    { "date-time", DATE "[tT]" TIME },
    { "date", DATE },
    { "time", TIME },
    { "duration", "P(" N "W|(" N "Y(" N "M(" N "D)?)?|" N "M(" N "D)?|" N "D)(T(" N "H(" N "M(" N "S)?)?|" N "M("
            N "S)?|"
                  N "S))?|T(" N "H(" N "M(" N "S)?)?|" N "M(" N "S)?|" N "S))" },
    { "email", ATOM "(\\." ATOM ")*@(" HOST "|\\[" IPV4 "\\])" },
    { "hostname", HOST },
    { "ipv4", IPV4 },
    { "ip-address", IPV4 },
    { "ipv6", IPV6 },
    { "uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}" },
    { "uri", URI },
    { "uri-reference", "(" URI "|" RELATIVE ")" },
    { "uri-template", "([^\\u0000-\\u0020\"'<>\\\\^`{|}]|\\{[+#./;?&=,!@|]?[a-zA-Z0-9_%.,:*]+\\})*" },
    { "json-pointer", "(/([^~/]|~[01])*)*" },
    { "relative-json-pointer", "(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)" },
    { "regex", NULL }, { "idn-email", NULL }, { "idn-hostname", NULL }, { "iri", NULL }, { "iri-reference", NULL },
};

rx_id schema_format(struct schema *c, const char *name, bool *known)
{
    struct err e;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (!strcmp(name, formats[i].name))
            return formats[i].pattern ? rx_parse(c->x, formats[i].pattern, strlen(formats[i].pattern), true, &e)
                    : RX_NONE;
    *known = false;
    return RX_NONE;
}
