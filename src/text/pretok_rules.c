/* pretok_rules -- the table of pre-tokenisers: names as in model files, and their regular expressions.
 *
 * The expressions are facts about the models (their tokenizer.json), as the reference engine llama.cpp applies
 * them, which is what GGUF files are made for. They are written here so that PCRE2 runs each in linear time:
 *  - white space and letter classes are spelled out as single classes: repeated groups would need a stack as
 *    deep as the text is long ([^\P{L}a-z] is "a letter other than a-z");
 *  - \s*[\r\n]+ becomes NEWLINES, which matches the same text and never walks back;
 *  - white space is Unicode White_Space spelled out (PCRE2's own \s has U+180E as well), so neither UCP nor
 *    \s, \d, \b are used.
 * Where the reference engine's reading of an expression differs from the letter of it (Tekken's lower case is
 * ASCII's), its reading is kept, for the ids have to be the same. */
#include "text/pretok_impl.h"

#include "base/mem.h"

#include <string.h>

/* White space, without and with the line ends CR and LF. */
#define WS0 "\\t\\x0b\\x0c \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WS  "\\r\\n" WS0
#define NEWLINES "(?:[" WS0 "]*+[\\r\\n]++)++"
#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"
#define NOT_CASED_S "'s|'t|'re|'ve|'m|'ll|'d"
#define CONTRACTION "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define OTHERS " ?[^" WS "\\p{L}\\p{N}]+"

#define GPT2 NOT_CASED_S "| ?\\p{L}+| ?\\p{N}+|" OTHERS "|" SPACES
#define LLAMA3_DIGITS(digits) \
    CONTRACTION "|" LEAD "\\p{L}+|" digits "|" OTHERS "[\\r\\n]*|" NEWLINES "|" SPACES
#define LLAMA3 LLAMA3_DIGITS("\\p{N}{1,3}")
#define QWEN2 LLAMA3_DIGITS("\\p{N}")
#define QWEN35 \
    CONTRACTION "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" NEWLINES "|" SPACES
/* Words split where lower case turns upper; letters without case belong to both. */
#define CASED(tail) \
    LEAD "[^\\P{L}a-z]*[^\\P{L}A-Z]+" tail "|" LEAD "[^\\P{L}a-z]+[^\\P{L}A-Z]*" tail
#define MARKED "[^\\p{C}\\p{N}\\p{P}\\p{S}\\p{Z}" /* letters and marks but for what is added */
#define CASED_MARKED(tail) \
    LEAD MARKED "a-z]*" MARKED "A-Z]+" tail "|" LEAD MARKED "a-z]+" MARKED "A-Z]*" tail
#define SLASHED OTHERS "[\\r\\n/]*|" NEWLINES "|" SPACES
#define GPT4O CASED(CONTRACTION "?") "|\\p{N}{1,3}|" SLASHED

/* DeepSeek V3 and kin. */
#define KANA_HAN "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define SYMBOL_WORD "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
#define SYMBOLS " ?[\\p{P}\\p{S}]+"
#define DEEPSEEK3 SYMBOL_WORD "|" SYMBOLS "[\\r\\n]*|" NEWLINES "|" SPACES

/* DeepSeek LLM: letters of scripts with case, CJK punctuation. Ranges leave out the white space inside them. */
#define DSLLM_LETTERS \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}" \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}" \
    "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}" \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}" \
    "\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}" \
    "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}" \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}" \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}" \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}" \
    "\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}" \
    "\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}" \
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}" \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}" \
    "\\x{1e900}-\\x{1e943}"
#define DSLLM_PUNCT \
    "!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3001}\\x{3002}"
#define BEYOND_LATIN \
    "[\\x{800}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}" \
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{9fa5}\\x{ac00}-\\x{d7ff}]+"
#define SPACE_AT_END "(?<![" WS "])[" WS "]++\\z"

#define HAN \
    "\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{20000}-\\x{2a6df}\\x{2a700}-\\x{2b73f}\\x{2b740}-\\x{2b81f}" \
    "\\x{2b820}-\\x{2ceaf}\\x{2ceb0}-\\x{2ebef}\\x{f900}-\\x{faff}\\x{2f800}-\\x{2fa1f}"
#define KIMI "[" HAN "]+|" LEAD "[^\\P{L}" HAN "]+" CONTRACTION "?|\\p{N}{1,3}|" OTHERS "[\\r\\n]*|" NEWLINES "|" SPACES

#define ASIAN \
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}" \
    "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}" \
    "\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+"
#define YOUTU_BLOCKS \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|" \
    "[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}" \
    "\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" KANA_HAN
#define MARKED_WORD LEAD "[\\p{L}\\p{M}]+" CONTRACTION "?"
#define BLOOM \
    " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define TRIPLE "[0-9][0-9][0-9]"
#define SOME(n) "[" WS "]{" n "}(?![^" WS "])|"
#define LINES "[^\\n]+|\\n+"

static const struct pretok_rule rules[] = {
    { "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat jina-es jina-de a.x-4.0 mellum modern-bert "
      "jina-v1-en roberta-bpe", 0, { GPT2 } },
    { "jina-v2-es jina-v2-de jina-v2-code", PRETOK_MASK_LSTRIP, { GPT2 } },
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
      PRETOK_IGNORE_MERGES | PRETOK_ADD_BOS, { LLAMA3 } },
    { "dbrx smaug-bpe glm4 chatglm-bpe", 0, { LLAMA3 } },
    { "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", 0, { QWEN2 } },
    { "qwen35", 0, { QWEN35 } },
    { "deepseek-llm", 0, { "[\\r\\n]", "[" WS "]?[" DSLLM_LETTERS "]+", "[" WS "]?[" DSLLM_PUNCT "]+", SPACE_AT_END,
      BEYOND_LATIN, "\\p{N}+" } },
    { "deepseek-coder", 0, { "[\\r\\n]", "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+", BEYOND_LATIN, "\\p{N}" } },
    { "deepseek-v3 hunyuan-dense joyai-llm hy_v4", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3 } },
    { "spark2_5", 0, { "\\p{N}{1,3}", KANA_HAN, SYMBOL_WORD "|" SYMBOLS "|[\\r\\n]|" SPACES, "\\p{N}" } },
    { "youtu", PRETOK_IGNORE_MERGES, { YOUTU_BLOCKS, MARKED_WORD "|\\p{N}|" SLASHED } },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", 0, { "\\p{N}", GPT2 } },
    { "falcon", 0, { "[\\p{P}$+<=>^~|`]+", GPT2, TRIPLE } },
    { "default", 0, { "[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", TRIPLE } },
    { "bloom poro-chat gpt3-finnish", 0, { BLOOM } },
    { "viking", 0, { BLOOM, "\\p{N}" } },
    { "tekken", PRETOK_IGNORE_MERGES | PRETOK_ADD_BOS, { CASED("") "|\\p{N}|" SLASHED } },
    { "gpt-4o llama4 kanana2 talkie minimax-m2", 0, { GPT4O } },
    { "granite-embed-multi-97m", PRETOK_IGNORE_MERGES, { CASED_MARKED(CONTRACTION "?") "|\\p{N}{1,3}|" SLASHED } },
    { "tiny_aya cohere2moe", 0, { PRETOK_DIGITS, MARKED_WORD "|\\p{N}{1,3}|" SLASHED } },
    { "afmoe", 0, { PRETOK_DIGITS, ASIAN, DEEPSEEK3 } },
    { "kimi-k2", 0, { KIMI } },
    { "superbpe", 0, { "\\p{N}+", PRETOK_THOUSANDS } },
    { "bailingmoe bailingmoe2 llada-moe", 0, { QWEN2 } },
    { "seed-coder", 0, { CONTRACTION "|" LEAD "\\p{L}+|\\p{N}| ?[^" WS "\\p{L}\\p{N}]+|" NEWLINES "|" SPACES } },
    { "ufakzeka", 0, { LEAD "\\p{L}+|\\p{N}|" OTHERS "[\\r\\n]*|" NEWLINES "|" SPACES } },
    { "laguna", 0, { LINES, QWEN2 } },
    { "minicpm5", PRETOK_IGNORE_MERGES, { "\\p{N}{1,3}", LLAMA3_DIGITS("\\p{N}+") } },
    { "exaone-moe", 0, { CONTRACTION "|" LEAD "\\p{L}(?:[\\p{L}\\p{M}]++| (?=\\p{L}))*+|\\p{N}|" OTHERS "[\\r\\n/]?|"
      NEWLINES "|" SPACES } },
    /* Looking for a newline again after each chunk of one run of spaces would be quadratic: there is none. */
    { "jais-2", 0, { CONTRACTION "|" LEAD "\\p{L}+|\\p{N}{1,3}|" OTHERS "[\\r\\n]*|(?<![" WS0 "])" NEWLINES "|"
      SOME("512") SOME("256") SOME("128") SOME("64") SOME("32") SOME("16") SOME("8") SOME("4") SOME("1,2")
      "[" WS "]" } },
    { "chameleon", PRETOK_ADD_BOS, { "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]", GPT2 } },
    { "gemma4 granite-embed-multi-311m", PRETOK_RAW | PRETOK_ESCAPE | PRETOK_NEWLINES | PRETOK_FORCE_BOS, { LINES } },
    { "sarvam-moe", PRETOK_RAW | PRETOK_ESCAPE, { LINES } },
};

/* Is name one of the words of list? */
static bool named(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, " ");
        if (len == n && !memcmp(p, name, n))
            return true;
        p += len;
        p += strspn(p, " ");
    }
    return false;
}

const struct pretok_rule *pretok_find(const char *name)
{
    for (size_t i = 0; i < MEM_COUNT(rules); i++)
        if (named(rules[i].names, name))
            return &rules[i];
    return NULL;
}

void pretok_names(struct buf *out)
{
    for (size_t i = 0; i < MEM_COUNT(rules); i++)
        buf_printf(out, "%s%.*s", i ? " " : "", (int)strcspn(rules[i].names, " "), rules[i].names);
}
