// The engine where a runner computes its passes and draws their tokens.
#include <algorithm>

#include "core/base/errors.h"
#include "rollout/engine.h"

namespace vernier {

void Engine::open_steps(const RolloutConfig& config, int64_t sequences, int64_t longest_prompt) {
  check_device_draw(config);
  const int64_t slots = std::min(config.max_running, sequences);
  const int64_t longest = longest_prompt + config.max_completion_length;
  const StepLimits wanted = {.slots = slots,
                             .step_tokens = config.max_step_tokens,
                             .longest = longest,
                             .pages = pages_wanted(config, slots, longest_prompt),
                             .cache_gb = config.kv_cache_gb,
                             .weights = config.weights};
  const bool kept = runner_ != nullptr && step_limits_.cover(wanted) &&
                    runner_->slots() <= config.max_running &&
                    step_limits_.step_tokens == wanted.step_tokens;
  if (kept) {
    steps_->drain();
    if (version_ != decoder_.version()) {
      scheduler_->forget_prefixes();
      runner_->weights_changed();
    }
  } else {
    if (scheduler_ != nullptr) past_ = past_ + scheduler_->stats();
    if (steps_ != nullptr) steps_->drain();
    steps_.reset();
    scheduler_.reset();
    runner_.reset();  // before the new one takes its memory
    runner_ = make_runner_(decoder_, wanted);
    scheduler_ = std::make_unique<Scheduler>(SchedulerLimits{.max_running = runner_->slots(),
                                                             .max_step_tokens = wanted.step_tokens,
                                                             .pages = runner_->pages(),
                                                             .page_tokens = kernels::kKeyBlock});
    steps_ = std::make_unique<StepPipeline>(*scheduler_, *runner_, listener());
    step_limits_ = wanted;
  }
  version_ = decoder_.version();
  config_ = config;
}

void Engine::check_steps(const Request& request) const {
  const RolloutConfig& config = request.rules->config();
  check_device_draw(config);
  const auto length = std::ssize(request.prompt.ids);
  const int64_t limit = completion_limit(request.prompt, config);
  if (length + limit > step_limits_.longest)
    fail("prompt ", request.prompt.id, ": its ", length, " tokens and ", limit,
         " more are longer than the ", step_limits_.longest,
         " that the engine was opened for on this GPU");
}

StepPipeline::Listener Engine::listener() {
  return {.rules =
              [this](int64_t sequence) {
                const ResponseDraw& draw = drawings_.at(sequence).draw;
                return StepPipeline::Rules{.sampling = draw.slot(),
                                           .drawn = std::ssize(draw.response().ids),
                                           .limit = draw.limit()};
              },
          .take = [this](int64_t sequence, const Drawn& drawn,
                         float plain) { take(sequence, drawn, plain); }};
}

void Engine::take(int64_t sequence, const Drawn& drawn, float plain) {
  drawings_.at(sequence).draw.take(drawn, plain);
  take_in(sequence, 1);
}

}  // namespace vernier
