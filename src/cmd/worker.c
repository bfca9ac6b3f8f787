/* worker -- tokenworks worker: the engines of this machine, offered to a fleet's gateways over NATS. */
#include "cmd/cmd.h"
#include "cmd/serve.h"

const struct opt_command cmd_worker_spec = {
    "worker", "--nats URL --site NAME --jurisdiction CC --model FILE|NAME [options]", "offer models to a fleet",
    "Like serve without clients of its own: requests come over the bus, from the gateways of the fleet. With --listen\n"
    "it answers /health, /metrics and the console there, and nothing else. SIGTERM: it says that it drains, running\n"
    "requests finish within --drain-s, those that do not go on at another worker.",
    serve_rows,
};

int cmd_worker(int argc, char **argv)
{
    return serve_main(&cmd_worker_spec, SERVE_WORKER, argc, argv);
}
