#include "rollout/endpoint/job.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <random>

#include "core/base/log.h"

namespace vernier {
namespace {

// 53 random bits of the system: a number that every reader of JSON keeps.
uint64_t random_bits() {
  std::random_device device;
  return ((uint64_t{device()} << 32) | device()) >> 11;
}

std::string hexadecimal(uint64_t bits) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, bits, 16).ptr;
  return std::string(digits, end);
}

}  // namespace

Job::Job(Endpoint& endpoint, std::string route, std::shared_ptr<Exchange> exchange)
    : endpoint_(endpoint), route_(std::move(route)), exchange_(std::move(exchange)) {}

void Job::start(const std::string& body) {
  if (over_) return;
  try {
    submit(body);
  } catch (const ApiError& problem) {
    refuse(problem.status, problem.what(), problem.param, problem.code);
  } catch (const UsageError& problem) {
    refuse(400, problem.what());
  } catch (const std::exception& problem) {
    log::warn(cat("a request could not be answered: ", problem.what()));
    refuse(500, problem.what());
  }
}

void Job::submit(const std::string& body) {
  const ApiLimits limits = {.model = endpoint_.config_.model_name,
                            .vocabulary = endpoint_.spec_.vocab_size,
                            .max_completion_length = endpoint_.config_.max_completion_length,
                            .choices = endpoint_.service_.capacity()};
  const ApiRequest request =
      read_api_request(parse_json(body, "body"), route_ == "/v1/chat/completions", limits);
  stream_ = request.stream;
  Generation generation{.prompts = prompts(request),
                        .rules = nullptr,
                        .seed = request.seed.value_or(random_bits()),
                        .stepwise = request.stream};
  generation.rules = rules(rollout(request, generation.prompts));
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt& prompt : generation.prompts) ids.push_back(prompt.ids);
  answer_.emplace(
      request,
      AnswerHead{.id = cat(request.chat ? "chatcmpl-" : "cmpl-", hexadecimal(random_bits())),
                 .model = endpoint_.config_.model_name,
                 .created = std::time(nullptr),
                 .weight_version = endpoint_.config_.weight_version,
                 .seed = generation.seed},
      std::move(ids), endpoint_.pieces_);
  const auto post = [self = shared_from_this()](auto call) {
    self->endpoint_.thread_.post([self, call = std::move(call)] { call(*self); });
  };
  number_ = endpoint_.service_.submit(
      std::move(generation),
      {.progress =
           [post](News&& progress) {
             post([progress = std::move(progress)](Job& job) { job.hear(progress); });
           },
       .failed =
           [post](Failure failure, const std::string& message) {
             post([failure, message](Job& job) { job.fail(failure, message); });
           }});
  if (number_) return endpoint_.counters_.prompt_tokens(answer_->prompt_tokens());
  endpoint_.counters_.rejected("queue");
  throw ApiError(429,
                 cat("the queue is full: ", limits.choices,
                     " responses run and wait already; try again later"),
                 "", "queue_full");
}

// The prompts as token ids, made as `vernier generate` makes them.
std::vector<Prompt> Job::prompts(const ApiRequest& request) const {
  const Tokenizer& tokenizer = endpoint_.tokenizer_;
  std::vector<ApiPrompt> given = request.prompts;
  bool prefix = request.add_special_tokens;
  if (request.chat) {
    const ChatFormat& format = endpoint_.config_.chat_format;
    const std::string text =
        placed("messages", [&] { return apply_chat_format(format, request.messages, true); });
    given.push_back({.text = text, .ids = {}});
    prefix = format.name == "none";
  }
  std::vector<Prompt> out;
  for (ApiPrompt& one : given) {
    Prompt prompt;
    prompt.index = std::ssize(out);
    prompt.id = cat(prompt.index);
    prompt.ids = std::move(one.ids);
    const char* field = request.chat ? "messages" : "prompt";
    if (one.is_text) {
      prompt.ids = placed(field, [&] { return tokenizer.encode(one.text); });
      if (prefix) prompt.ids = tokenizer.add_prefix(std::move(prompt.ids));
    }
    if (prompt.ids.empty()) throw ApiError(400, cat(field, ": has no tokens"), field);
    out.push_back(std::move(prompt));
  }
  return out;
}

// The rules of the draw, with room for every prompt.
RolloutConfig Job::rollout(const ApiRequest& request, const std::vector<Prompt>& prompts) const {
  int64_t longest = 0;
  for (const Prompt& prompt : prompts) longest = std::max<int64_t>(longest, std::ssize(prompt.ids));
  const int64_t positions = endpoint_.spec_.longest();
  const int64_t room = positions - longest;
  const char* field = request.chat ? "messages" : "prompt";
  if (room < request.max_tokens.value_or(1))
    throw ApiError(
        400,
        cat(field, ": its ", longest, " tokens and max_tokens = ", request.max_tokens.value_or(1),
            " do not fit the model's ", positions, " positions"),
        field, "context_length_exceeded");
  RolloutConfig config = request.rollout;
  config.max_completion_length =
      request.max_tokens.value_or(std::min(room, endpoint_.config_.max_completion_length));
  if (config.ending.thinking_budget >= config.max_completion_length)
    throw ApiError(
        400,
        cat("thinking_budget: ", config.ending.thinking_budget,
            " has no effect: the response has room for ", config.max_completion_length, " tokens"),
        "thinking_budget");
  return config;
}

// A request has the keys of [rollout] as its fields.
std::shared_ptr<const DrawRules> Job::rules(const RolloutConfig& config) const {
  try {
    return std::make_shared<const DrawRules>(config, endpoint_.tokenizer_, endpoint_.spec_);
  } catch (const UsageError& problem) {
    constexpr std::string_view kSection = "rollout.";
    std::string_view message = problem.what();
    if (!message.starts_with(kSection)) throw;
    message.remove_prefix(kSection.size());
    const std::string_view field = message.substr(0, message.find_first_of(" :[."));
    throw ApiError(400, std::string(message), std::string(field));
  }
}

void Job::hear(const News& progress) {
  if (over_) return;
  try {
    take_in(progress);
  } catch (const std::exception& problem) {
    endpoint_.service_.cancel(*number_);
    fail(Failure::machine, problem.what());
  }
}

void Job::take_in(const News& progress) {
  if (!heard_) endpoint_.counters_.first_token(clock_.seconds());
  heard_ = true;
  const std::string chunk = answer_->add(progress);
  if (stream_ && !begun_) {
    begun_ = true;
    exchange_->begin({.status = 200,
                      .body = {},
                      .type = "text/event-stream",
                      .headers = {{"Cache-Control", "no-cache"}}});
  }
  if (!chunk.empty()) exchange_->write(cat("data: ", chunk, "\n\n"));
  if (answer_->complete()) finish();
}

void Job::finish() {
  endpoint_.counters_.finished(clock_.seconds());
  if (!stream_) {
    exchange_->reply(endpoint_.count(route_, {.status = 200, .body = answer_->whole()}));
    over_ = true;
    return;
  }
  over_ = true;
  endpoint_.counters_.answered(route_, 200);
  if (const std::string usage = answer_->usage_chunk(); !usage.empty())
    exchange_->write(cat("data: ", usage, "\n\n"));
  exchange_->write("data: [DONE]\n\n");
  exchange_->end();
}

void Job::refuse(int status, const std::string& message, const std::string& param,
                 const std::string& code) {
  over_ = true;
  HttpReply reply{.status = status, .body = error_body(status, message, param, code)};
  if (status == 429 || status == 503) reply.headers.emplace_back("Retry-After", "1");
  exchange_->reply(endpoint_.count(route_, std::move(reply)));
}

// The engine gave it up.
void Job::fail(Failure failure, const std::string& message) {
  if (over_) return;
  const int status = failure == Failure::usage ? 400 : failure == Failure::machine ? 500 : 503;
  if (!begun_) return refuse(status, message);
  over_ = true;
  endpoint_.counters_.answered(route_, status);
  exchange_->write(cat("data: ", error_body(status, message), "\n\n"));
  exchange_->end();
}

void Job::leave() {
  if (over_) return;
  over_ = true;
  endpoint_.counters_.cancelled();
  if (number_) endpoint_.service_.cancel(*number_);
}

}  // namespace vernier
