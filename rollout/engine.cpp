#include "rollout/engine.h"

#include <algorithm>
#include <utility>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/base/pulse.h"
#include "core/base/rng.h"
#include "rollout/device_steps.h"

namespace vernier {

EngineStats EngineStats::operator-(const EngineStats& before) const {
  return {.new_tokens = new_tokens - before.new_tokens,
          .passes = passes - before.passes,
          .drafted_tokens = drafted_tokens - before.drafted_tokens,
          .accepted_tokens = accepted_tokens - before.accepted_tokens,
          .scheduler = scheduler - before.scheduler};
}

EngineStats EngineStats::operator+(const EngineStats& other) const {
  return {.new_tokens = new_tokens + other.new_tokens,
          .passes = passes + other.passes,
          .drafted_tokens = drafted_tokens + other.drafted_tokens,
          .accepted_tokens = accepted_tokens + other.accepted_tokens,
          .scheduler = scheduler + other.scheduler};
}

namespace {

// Logits are made for some rows at a time: all of a large batch would be a table of gigabytes.
constexpr int64_t kRowsOfLogits = 64;

int64_t pages_of(int64_t tokens) {
  return kernels::round_up(tokens, kernels::kKeyBlock) / kernels::kKeyBlock;
}

}  // namespace

Engine::Engine(Decoder& decoder, const Tokenizer& tokenizer, MakeStepRunner make_runner)
    : decoder_(decoder), tokenizer_(tokenizer), make_runner_(std::move(make_runner)) {
  if (!make_runner_ && decoder.weights().is_cuda()) make_runner_ = make_device_steps;
}
Engine::~Engine() = default;

// Everyone who runs at full length, with the page that a copy takes, and prompts for those to come.
int64_t Engine::pages_wanted(const RolloutConfig& config, int64_t running, int64_t longest_prompt) {
  return running * (pages_of(longest_prompt + config.max_completion_length) + 1) +
         pages_of(longest_prompt) * (1 + running / config.num_generations);
}

// Pages of a prompt are there once for its group, the last one copied by each response. A page that
// is not full is free again as soon as its response ends.
int64_t Engine::pages_written(const RolloutConfig& config, int64_t sequences, int64_t prompt,
                              double length) {
  const int64_t n = config.num_generations, shared = (prompt - 1) / kernels::kKeyBlock;
  const auto whole = static_cast<int64_t>((static_cast<double>(prompt) + length) /
                                          static_cast<double>(kernels::kKeyBlock));
  return sequences * (whole - shared) + sequences / n * pages_of(prompt) +
         std::min(sequences, config.max_running);
}

int64_t Engine::draw_bytes(const ModelSpec& spec, int64_t rows) {
  return 4 * std::min(rows, kRowsOfLogits) * (spec.vocab_size + spec.hidden_size);
}

void Engine::open(const RolloutConfig& config, int64_t sequences, int64_t longest_prompt) {
  ensure(idle(), "no open request");
  if (make_runner_) return open_steps(config, sequences, longest_prompt);
  const int64_t wanted =
      pages_wanted(config, std::min(config.max_running, sequences), longest_prompt);
  const int64_t most = KvCache::pages_within(config.kv_cache_gb, decoder_.spec());
  const SchedulerLimits limits = {.max_running = config.max_running,
                                  .max_step_tokens = config.max_step_tokens,
                                  .pages = std::min(wanted, most),
                                  .page_tokens = kernels::kKeyBlock};
  const bool kept = scheduler_ != nullptr && limits_.max_running == limits.max_running &&
                    limits_.max_step_tokens == limits.max_step_tokens &&
                    limits_.pages >= limits.pages && limits_.pages <= most;
  if (!kept) {
    if (scheduler_ != nullptr) past_ = past_ + scheduler_->stats();
    scheduler_.reset();
    cache_.reset();  // before the new one takes its memory
    cache_ = std::make_unique<KvCache>(decoder_.spec(), limits.pages);
    scheduler_ = std::make_unique<Scheduler>(limits);
    limits_ = limits;
  } else if (version_ != decoder_.version() || config_.weights != config.weights) {
    scheduler_->forget_prefixes();
  }
  version_ = decoder_.version();
  config_ = config;
}

int64_t Engine::submit(Request request) {
  ensure(scheduler_ != nullptr, "an open engine");
  const RolloutConfig& config = request.rules->config();
  check_fits(request.prompt, cat("prompt ", request.prompt.id), config, decoder_.spec());
  if (steps_ != nullptr) check_steps(request);
  const int64_t count = config.num_generations, index = request.prompt.index;
  const int64_t limit = completion_limit(request.prompt, config);
  const auto length = std::ssize(request.prompt.ids);
  const int64_t first = scheduler_->add(request.prompt.ids, count, limit,
                                        std::min(limit, lengths_.expected(index, length)));
  auto open = std::make_unique<Open>();
  open->ticket = next_ticket_++;
  open->group.prompt = std::move(request.prompt);
  open->group.step = static_cast<int64_t>(request.key.step);
  open->group.id = request.group_id;
  open->group.responses.resize(static_cast<size_t>(count));
  open->request = std::move(request);
  open->left = count;
  open->first = first;
  const Prompt& prompt = open->group.prompt;
  if (config_.draft_tokens > 0)
    open->drafts = std::make_unique<GroupDrafts>(prompt.ids, count, config_.draft_ngram);
  const DrawKey& key = open->request.key;
  for (int64_t i = 0; i < count; ++i)
    drawings_.emplace(
        first + i, Drawing{.request = open.get(),
                           .draw = ResponseDraw(open->request.rules, prompt, i, limit,
                                                Rng(key.seed, Stream::sampling, key.step,
                                                    static_cast<uint64_t>(index),
                                                    key.first_sample + static_cast<uint64_t>(i))),
                           .reach = std::min<int64_t>(2, config_.draft_tokens)});
  if (!open->request.begun.empty()) go_on(*open, std::exchange(open->request.begun, {}));
  const int64_t ticket = open->ticket;
  requests_.emplace(ticket, std::move(open));
  return ticket;
}

// With the responses of an interrupted request.
void Engine::go_on(Open& open, std::vector<Begun> begun) {
  ensure(begun.size() == open.group.responses.size(), "something of every response");
  for (auto& [response, ended] : begun) {
    const int64_t sequence = open.first + response.sample;
    if (open.drafts != nullptr)
      for (const int32_t id : response.ids) open.drafts->add(response.sample, id);
    if (ended) {
      scheduler_->remove(sequence);
      drawings_.erase(sequence);
      --open.left;
      open.group.responses[static_cast<size_t>(response.sample)] = std::move(response);
    } else {
      scheduler_->extend(sequence, response.ids);
      drawings_.at(sequence).draw.go_on(std::move(response));
    }
  }
  ensure(open.left > 0, "a request that is not over");
}

std::vector<Request> Engine::interrupt() {
  std::vector<Request> out;
  for (auto& [ticket, open] : requests_) {
    std::vector<Begun> begun;
    for (int64_t i = 0; i < std::ssize(open->group.responses); ++i) {
      const auto drawing = drawings_.find(open->first + i);
      if (drawing == drawings_.end()) {
        begun.push_back({std::move(open->group.responses[static_cast<size_t>(i)]), true});
        continue;
      }
      begun.push_back({drawing->second.draw.interrupt(open->request.weight_version), false});
      scheduler_->remove(open->first + i);
      drawings_.erase(drawing);
    }
    Request& request = out.emplace_back(std::move(open->request));
    request.prompt = std::move(open->group.prompt);
    request.begun = std::move(begun);
  }
  requests_.clear();
  return out;
}

void Engine::cancel(int64_t ticket) {
  const auto found = requests_.find(ticket);
  if (found == requests_.end()) return;
  const Open& one = *found->second;
  for (int64_t i = 0; i < std::ssize(one.group.responses); ++i)
    if (drawings_.erase(one.first + i) > 0) scheduler_->remove(one.first + i);
  requests_.erase(found);
}

void Engine::step() {
  pulse::beat();
  try {
    pass();
  } catch (...) {
    while (!requests_.empty()) cancel(requests_.begin()->first);
    scheduler_->forget_prefixes();  // what the pass was to compute is not there
    throw;
  }
}

void Engine::pass() {
  if (steps_ != nullptr) {
    ++stats_.passes;
    return steps_->step();
  }
  const StepPlan plan = scheduler_->plan();
  for (const auto& [from, to, tokens] : plan.copies) cache_->copy(from, to, tokens);
  CachedTokens pass;
  std::vector<Rows> rows;
  for (const StepPlan::Span& span : plan.spans) {
    const std::span<const int32_t> tokens = scheduler_->tokens(span.sequence);
    const std::vector<int32_t>& draft = scheduler_->draft(span.sequence);
    const int64_t known = span.count - std::ssize(draft);
    pass.add(tokens.subspan(static_cast<size_t>(span.first), static_cast<size_t>(known)), draft,
             span.first, scheduler_->pages(span.sequence));
    if (!span.draws) continue;
    const int64_t count = 1 + std::ssize(draft);
    rows.push_back({span.sequence, std::ssize(pass.ids) - count, count});
  }
  const at::Tensor hidden = decoder_.cached(pass, *cache_, config_.weights);
  ++stats_.passes;
  for (size_t first = 0, last = 0; first < rows.size(); first = last) {
    int64_t count = 0;
    for (; last < rows.size() && (last == first || count + rows[last].count <= kRowsOfLogits);
         ++last)
      count += rows[last].count;
    draw(hidden, std::span(rows).subspan(first, last - first));
  }
  if (config_.draft_tokens > 0) guess();
}

void Engine::draw(const at::Tensor& hidden, std::span<const Rows> rows) {
  int64_t count = 0;
  std::vector<int64_t> begins;
  std::vector<Drawing*> ones;
  for (const Rows& one : rows) {
    begins.push_back(count);
    count += one.count;
    ones.push_back(&drawings_.at(one.sequence));
  }
  const int64_t width = hidden.size(1), vocabulary = decoder_.spec().vocab_size;
  float *last = last_hidden_.take(count * width), *logits = logits_.take(count * vocabulary);
  for (size_t b = 0; b < rows.size(); ++b)
    std::copy_n(hidden.const_data_ptr<float>() + rows[b].first * width, rows[b].count * width,
                last + begins[b] * width);
  decoder_.logits(last, count, config_.weights, logits);
  std::vector<int64_t> drawn(rows.size());
  kernel_pool().run(std::ssize(rows), [&](int64_t task) {
    const auto b = static_cast<size_t>(task);
    drawn[b] = draw(*ones[b], scheduler_->draft(rows[b].sequence), logits + begins[b] * vocabulary);
  });
  for (size_t b = 0; b < rows.size(); ++b) {
    const int64_t guessed = rows[b].count - 1;
    stats_.drafted_tokens += guessed;
    stats_.accepted_tokens += drawn[b] - 1;
    if (guessed > 0)
      ones[b]->reach = std::min(drawn[b] > guessed ? 2 * guessed : drawn[b], config_.draft_tokens);
  }
  for (size_t b = 0; b < rows.size(); ++b) take_in(rows[b].sequence, drawn[b]);
}

// The next token, and those behind it for as long as the guesses come true. Returns their number.
int64_t Engine::draw(Drawing& one, std::span<const int32_t> draft, const float* logits) const {
  for (size_t i = 0;; ++i) {
    one.draw.draw(logits + static_cast<int64_t>(i) * decoder_.spec().vocab_size);
    const bool true_guess = i < draft.size() && one.draw.response().ids.back() == draft[i];
    if (one.draw.ended() || !true_guess) return static_cast<int64_t>(i) + 1;
  }
}

// The newest tokens of a response, for the scheduler and for who listens.
void Engine::take_in(int64_t sequence, int64_t drawn) {
  Drawing& one = drawings_.at(sequence);
  Open& request = *one.request;
  const Response& response = one.draw.response();
  const auto tokens = std::span(response.ids).last(static_cast<size_t>(drawn));
  stats_.new_tokens += drawn;
  for (const int32_t id : tokens)
    drawn_ =
        Rng(drawn_, Stream::sampling, static_cast<uint64_t>(sequence), static_cast<uint64_t>(id))
            .key();
  scheduler_->append(sequence, tokens);
  if (request.drafts != nullptr)
    for (const int32_t id : tokens) request.drafts->add(response.sample, id);
  const bool ended = one.draw.ended();
  if (request.request.grown) request.request.grown(response, ended);
  if (ended) finish(sequence, one);
}

// Guesses for the next pass, as long as it stays small.
void Engine::guess() {
  int64_t room = config_.draft_rows - scheduler_->running();
  for (auto& [sequence, one] : drawings_) {
    if (room <= 0) return;
    if (!scheduler_->draws(sequence)) continue;
    // The pass draws one token more than it has guesses.
    const int64_t last = one.draw.limit() - std::ssize(one.draw.response().ids) - 1;
    std::vector<int32_t> draft =
        one.request->drafts->guess(one.draw.response().sample, std::min({room, one.reach, last}));
    room -= std::ssize(draft);
    scheduler_->set_draft(sequence, std::move(draft));
  }
}

void Engine::finish(int64_t sequence, Drawing& one) {
  Open& request = *one.request;
  Response response = one.draw.finish(request.request.weight_version);
  lengths_.add(request.group.prompt.index, std::ssize(request.group.prompt.ids),
               response.num_tokens);
  scheduler_->remove(sequence);
  drawings_.erase(sequence);
  const auto place = static_cast<size_t>(response.sample);
  request.group.responses[place] = std::move(response);
  if (request.request.ended) request.request.ended(request.group, place);
  if (--request.left > 0) return;
  const auto over = requests_.extract(request.ticket);
  Open& last = *over.mapped();
  if (last.request.done) last.request.done(std::move(last.group));
}

EngineStats Engine::stats() const {
  EngineStats out = stats_;
  out.scheduler = scheduler_ != nullptr ? past_ + scheduler_->stats() : past_;
  return out;
}

void PromptShare::check(const std::atomic<bool>* stop, uint64_t drawn) const {
  const bool here = stop != nullptr && stop->load(std::memory_order_relaxed);
  if (goes_on ? !goes_on(here, drawn) : here) throw Interrupted();
}

int64_t PromptShare::most_open(int64_t responses, int64_t max_running) const {
  if (!next) return responses;
  return std::min(max_running, (responses + ranks - 1) / ranks);
}

EngineStats Engine::generate(std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
                             int64_t weight_version, const std::atomic<bool>* stop,
                             const std::function<void(Group&&)>& done, const PromptShare& share) {
  if (prompts.empty()) return {};
  const auto rules = std::make_shared<const DrawRules>(config, tokenizer_, decoder_.spec());
  int64_t longest = 0;
  for (const Prompt& prompt : prompts) {
    check_fits(prompt, cat("prompt ", prompt.id), config, decoder_.spec());
    longest = std::max<int64_t>(longest, std::ssize(prompt.ids));
  }
  const auto count = std::ssize(prompts);
  const int64_t most = share.most_open(count * config.num_generations, config.max_running);
  open(config, most + (share.next ? config.num_generations : 0), longest);
  const EngineStats before = stats();
  std::vector<int64_t> tickets;
  int64_t next = 0;
  const auto take = [&] {
    while (next < count && open_responses() < most) {
      const int64_t place = share.next ? share.next() : next;
      next = place + 1;
      if (place >= count) return;
      tickets.push_back(submit({.prompt = std::move(prompts[static_cast<size_t>(place)]),
                                .rules = rules,
                                .key = key,
                                .weight_version = weight_version,
                                .group_id = place,
                                .grown = {},
                                .ended = {},
                                .done = share.follows ? std::function<void(Group &&)>() : done}));
    }
  };
  try {
    // What follows from the tokens of a pass follows on all that draw the same.
    share.check(stop, this->drawn());
    for (take(); !idle(); take()) {
      step();
      share.check(idle() ? nullptr : stop, this->drawn());
    }
  } catch (...) {
    for (const int64_t ticket : tickets) cancel(ticket);
    throw;
  }
  return stats() - before;
}

}  // namespace vernier
