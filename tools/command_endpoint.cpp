// endpoint: completions over HTTP.
#include <algorithm>
#include <cstdio>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/kernels/threads.h"
#include "core/model/kv_cache.h"
#include "core/model/model.h"
#include "rollout/endpoint/access.h"
#include "rollout/endpoint/endpoint.h"
#include "rollout/endpoint/http_server.h"
#include "tools/commands.h"

namespace vernier {
namespace {

std::string name_of_model(const EndpointOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  const fs::path path = fs::weakly_canonical(options.model);
  return path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
}

// How the engine runs, through the keys of [rollout], so that they are refused alike.
RolloutConfig engine_of(const EndpointOptions& options, int64_t positions) {
  if (options.max_completion_length >= positions)
    fail("--max-completion-length: ", options.max_completion_length,
         " leaves no room for a prompt in the model's ", positions, " positions");
  const int64_t longest =
      options.max_completion_length > 0 ? options.max_completion_length : positions - 1;
  const int64_t step = std::max<int64_t>(RolloutConfig{}.max_step_tokens, options.max_running);
  RolloutConfig config;
  ConfigFile file = ConfigFile::parse(
      cat("max_completion_length = ", longest, "\nmax_running = ", options.max_running,
          "\nmax_step_tokens = ", step, "\nkv_cache_gb = ", options.kv_cache_gb, "\nweights = \"",
          options.weights, "\"\ndraft_tokens = ", options.draft_tokens, "\n"),
      "command line");
  file.bind([&](Binder& root) { config.bind(root); });
  return config;
}

}  // namespace

void endpoint_command(const EndpointOptions& options) {
  const std::string token = read_token(options.token_file);
  check_listening(options.host, !token.empty());
  set_threads(options.threads);
  HttpLimits limits;
  limits.body_bytes = static_cast<size_t>(options.max_body_mb) << 20;
  limits.connections = static_cast<size_t>(options.max_connections);
  HttpServer server(limits);
  const int port = server.listen(options.host, static_cast<int>(options.port));
  const Model model = load_model(options.model, {.max_length = options.max_length});
  const ChatFormat format =
      choose_chat_format({.name = options.chat_format, .date = options.chat_date},
                         model.tokenizer->chat_template(), options.model);
  const ModelSpec& spec = model.decoder->spec();
  const RolloutConfig engine = engine_of(options, spec.longest());
  const int64_t held = KvCache::pages_within(engine.kv_cache_gb, spec) * kernels::kKeyBlock;
  if (held < spec.longest())
    fail("--kv-cache-gb: the key-value cache holds ", held, " tokens, less than the ",
         spec.longest(),
         " positions that a request may take; give it more, or a smaller --max-length");
  Service service(
      *model.decoder, *model.tokenizer,
      {.engine = engine, .max_queue = options.max_queue, .weight_version = options.weight_version});
  const std::string name = name_of_model(options);
  Endpoint endpoint({.model_name = name,
                     .token = token,
                     .chat_format = format,
                     .max_completion_length = engine.max_completion_length,
                     .weight_version = options.weight_version},
                    *model.tokenizer, spec, service);
  std::printf("listening on %s, model %s\n", url_of(options.host, port).c_str(), name.c_str());
  std::fflush(stdout);
  server.run(endpoint.handlers(), true);
  log::info("stopped");
}

}  // namespace vernier
