/* gateway -- tokenworks gateway: the API in front of a fleet's workers. */
#include "cmd/cmd.h"
#include "cmd/serve.h"

const struct opt_command cmd_gateway_spec = {
    "gateway", "--nats URL --site NAME --jurisdiction CC [--listen ADDR:PORT] [options]", "the API in front of a fleet",
    "Like serve without models of its own: it offers those that the fleet's workers have, chooses the worker for each\n"
    "request, and goes on with it elsewhere when that one fails: the client sees the same bytes. Requests stay in the\n"
    "gateway's own jurisdiction and in those given with --to-jurisdiction.",
    serve_rows,
};

int cmd_gateway(int argc, char **argv)
{
    return serve_main(&cmd_gateway_spec, SERVE_GATEWAY, argc, argv);
}
