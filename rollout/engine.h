// The rollout engine: prompts in, finished groups of responses out.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/model/model.h"
#include "core/types.h"
#include "rollout/drafts.h"
#include "rollout/lengths.h"
#include "rollout/response_draw.h"
#include "rollout/rollout_config.h"
#include "rollout/scheduler.h"
#include "rollout/step_pipeline.h"
#include "rollout/step_runner.h"

namespace vernier {

/// What fixes a response besides the weights: with the prompt's index and the sample's number this
/// is the whole key of its random numbers.
struct DrawKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint64_t first_sample = 0;  // number of the first response; the others follow
};

/// Which prompts of a draw this process draws, where several share them.
struct PromptShare {
  /// The place of a prompt that is drawn here from now on; past the last one: none is left. Empty:
  /// all of them are drawn here.
  std::function<int64_t()> next = {};
  int64_t ranks = 1;  // that share them
  /// Whether all that draw the same prompts go on: asked at first and after every pass by those who
  /// compute one model in parts, with whether this one was told to stop and a number that says what
  /// it has drawn so far. Empty: it draws alone.
  std::function<bool(bool stop, uint64_t drawn)> goes_on = {};
  /// Another process hands over what is drawn here too: nobody hears of it.
  bool follows = false;

  /// Throws Interrupted where `stop` (may be null) is true, of any of those that draw the same.
  void check(const std::atomic<bool>* stop, uint64_t drawn) const;

  /// Responses that one of them has open at most, of so many: what is not begun is there for who
  /// is faster.
  int64_t most_open(int64_t responses, int64_t max_running) const;
};

struct EngineStats {
  int64_t new_tokens = 0;
  int64_t passes = 0;
  int64_t drafted_tokens = 0, accepted_tokens = 0;  // guesses that were computed, and came true
  SchedulerStats scheduler;

  EngineStats operator-(const EngineStats& before) const;
  EngineStats operator+(const EngineStats& other) const;
};

/// A prompt, and who waits for the responses to it.
struct Request {
  Prompt prompt;  // with its token ids
  std::shared_ptr<const DrawRules> rules;
  DrawKey key;
  int64_t weight_version = 0;
  int64_t group_id = 0;  // that its group gets
  /// What is there of its responses, by sample, where it was interrupted; else empty.
  std::vector<Begun> begun = {};
  /// After every pass that brought tokens: a response as it is so far (no text, no spans), and
  /// whether it has ended. May be empty.
  std::function<void(const Response&, bool ended)> grown;
  /// When a response has ended: its group so far, and its place there. May be empty.
  std::function<void(const Group&, size_t)> ended = {};
  /// When the last response has ended.
  std::function<void(Group&&)> done;
};

/// Continuous batching over a paged key-value cache (scheduler.h): a response that ends leaves the
/// batch, the next one enters; a prompt is computed once for all its responses, and for later
/// prompts that begin alike. What a response becomes does not depend on its neighbours, on the size
/// of the cache, on what was shared, or on guesses, bit for bit.
///
/// On a GPU the tokens are drawn there, and the host is a step behind (step_pipeline.h): the same
/// rules, guarantees as the products keep them (kernels::device::Linear).
class Engine {
 public:
  /// `make_runner`: what computes the passes in place of the decoder; by default, where that lies
  /// on a GPU, what serves it there.
  Engine(Decoder& decoder, const Tokenizer& tokenizer, MakeStepRunner make_runner = {});
  ~Engine();

  /// Draws `num_generations` responses to every prompt and hands each group over when its last
  /// response ends. Throws Interrupted soon after `stop` (which may be null) becomes true, and
  /// UsageError where a prompt with its response may not fit the model's positions.
  EngineStats generate(std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
                       int64_t weight_version, const std::atomic<bool>* stop,
                       const std::function<void(Group&&)>& done, const PromptShare& share = {});

  /// The parts of generate(), for who has requests that come and go. All of them belong to one
  /// thread.
  ///
  /// Makes the cache: for `sequences` responses at a time to prompts of up to `longest_prompt`
  /// tokens, within the memory that the configuration allows. No request may be open.
  void open(const RolloutConfig& config, int64_t sequences, int64_t longest_prompt);
  /// Returns a ticket. UsageError where prompt and response do not fit the model or the cache.
  int64_t submit(Request request);
  /// Its listener hears nothing more. Nothing happens where the request is over.
  void cancel(int64_t ticket);
  /// Takes all open requests back, in the order of their tickets, with what is drawn of them:
  /// whoever submits one again goes on with it, under whatever weights are there then.
  std::vector<Request> interrupt();
  bool idle() const { return requests_.empty(); }
  /// One pass of the model over those who are there. Where it throws, all requests are cancelled.
  void step();

  /// Of all time.
  EngineStats stats() const;
  /// The same number where the same tokens were drawn, in the same order, since it was made.
  uint64_t drawn() const { return drawn_; }
  int64_t open_responses() const { return std::ssize(drawings_); }
  int64_t running() const { return scheduler_ ? scheduler_->running() : 0; }
  int64_t waiting() const { return scheduler_ ? scheduler_->waiting() : 0; }
  /// Of the cache: all, and those that a response holds.
  int64_t pages() const { return scheduler_ ? scheduler_->pool().pages() : 0; }
  int64_t pages_in_use() const { return scheduler_ ? scheduler_->pool().in_use() : 0; }

  /// Pages of a cache in which `running` responses, whole groups of them, run at full length.
  static int64_t pages_wanted(const RolloutConfig& config, int64_t running, int64_t longest_prompt);
  /// Pages of it that generate() writes to for `sequences` responses of `length` tokens: those that
  /// one ends with stay until the weights change.
  static int64_t pages_written(const RolloutConfig& config, int64_t sequences, int64_t prompt,
                               double length);
  /// Bytes of the arrays that tokens are drawn from, for `rows` of them in a pass.
  static int64_t draw_bytes(const ModelSpec& spec, int64_t rows);

 private:
  struct Open {  // a request
    int64_t ticket = 0;
    Request request;
    Group group;
    int64_t left = 0;                     // responses that have not ended
    int64_t first = 0;                    // the scheduler's number of the first response
    std::unique_ptr<GroupDrafts> drafts;  // where guesses are wanted
  };
  struct Drawing {  // a response
    Open* request;
    ResponseDraw draw;
    int64_t reach;  // guesses that are worth a try
  };
  struct Rows {  // of one response in a pass: [first, first + count)
    int64_t sequence, first, count;
  };

  void go_on(Open& open, std::vector<Begun> begun);
  void open_steps(const RolloutConfig& config, int64_t sequences, int64_t longest_prompt);
  void check_steps(const Request& request) const;
  StepPipeline::Listener listener();
  void take(int64_t sequence, const Drawn& drawn, float plain);

  void pass();
  void draw(const at::Tensor& hidden, std::span<const Rows> rows);
  int64_t draw(Drawing& one, std::span<const int32_t> draft, const float* logits) const;
  void take_in(int64_t sequence, int64_t drawn);
  void guess();
  void finish(int64_t sequence, Drawing& one);

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  RolloutConfig config_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<KvCache> cache_;
  SchedulerLimits limits_;
  // In place of the cache, where a runner computes the passes.
  MakeStepRunner make_runner_;
  StepLimits step_limits_;  // that the runner was made for
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<StepPipeline> steps_;
  int64_t version_ = -1;  // of the weights that made what the cache holds
  LengthPredictor lengths_;
  int64_t next_ticket_ = 0;
  std::map<int64_t, std::unique_ptr<Open>> requests_;  // by ticket
  std::unordered_map<int64_t, Drawing> drawings_;      // by the scheduler's number
  Room<float> last_hidden_, logits_;                   // of the rows that are drawn from
  EngineStats stats_;                                  // without the scheduler's
  SchedulerStats past_;                                // of schedulers that are gone
  uint64_t drawn_ = 0;
};

}  // namespace vernier
