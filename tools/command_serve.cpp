// serve: the report of runs as a live page.
#include <cstdio>

#include "core/base/log.h"
#include "rollout/endpoint/access.h"
#include "rollout/endpoint/http_server.h"
#include "tools/commands.h"
#include "tools/dashboard.h"

namespace vernier {

void serve_command(const ServeOptions& options) {
  const std::string token = read_token(options.token_file);
  check_listening(options.host, !token.empty());
  HttpLimits limits;
  limits.body_bytes = 1 << 10;  // nobody has anything to say
  limits.unsent_bytes = 64 << 10;
  limits.grace_s = 0.5;  // a stream of events never ends by itself
  HttpServer server(limits);
  const int port = server.listen(options.host, static_cast<int>(options.port));
  Dashboard dashboard({.folders = options.runs, .token = token, .hosts = options.hosts});
  std::printf("serving on %s%s\n", url_of(options.host, port).c_str(),
              token.empty() ? "/" : "/?token=TOKEN");
  std::fflush(stdout);
  server.run(dashboard.handlers(), true);
  log::info("stopped");
}

}  // namespace vernier
