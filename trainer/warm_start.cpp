#include "trainer/warm_start.h"

#include <unistd.h>

#include <algorithm>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/base/rng.h"
#include "trainer/step.h"

namespace vernier {

WarmStart::Bucket WarmStart::bucket_at(int64_t step) const {
  const SftConfig& sft = config_.sft;
  const int64_t size = sft.bucket_batches, end = sft.curriculum.empty() ? 0 : sft.curriculum[0];
  const bool early = step < end;
  const int64_t place = early ? step / size : (step - end) / size;
  const int64_t first = (early ? 0 : end) + place * size;
  return {.number = early ? place : (end + size - 1) / size + place,
          .first_step = first,
          .batches = early ? std::min(size, end - first) : size,
          .early = early};
}

void WarmStart::fill_demonstrations(const Bucket& bucket) {
  if (bucket.number == bucket_) return;
  const SftConfig& sft = config_.sft;
  const int64_t whole = sft.batch_sequences * sft.bucket_batches;
  demonstrations_.clear();
  for (int64_t i = 0; i < sft.batch_sequences * bucket.batches; ++i)
    demonstrations_.push_back(config_.data.demonstrate(static_cast<uint64_t>(config_.run.seed),
                                                       bucket.number * whole + i,
                                                       bucket.early ? sft.curriculum[1] : 0));
  std::stable_sort(demonstrations_.begin(), demonstrations_.end(),
                   [](const Demonstration& a, const Demonstration& b) {
                     return a.prompt.size() + a.response.size() <
                            b.prompt.size() + b.response.size();
                   });
  bucket_ = bucket.number;
}

// A demonstration as tokens: the prompt as a rollout would be given it, and what is learned. A
// control token that is learned moves from the prompt to the response.
Example WarmStart::example_of(const Demonstration& one) const {
  const LengthRequest& request = config_.data.length_request;
  const Tokenizer& tokenizer = *trainee_.model.tokenizer;
  const auto render = [&](Prompt& prompt) {
    render_prompt(prompt, config_.data, trainee_.chat_format, tokenizer);
  };
  Prompt prompt;
  prompt.id = "of a demonstration";
  prompt.text = one.prompt;
  Prompt bare = prompt;
  Example out;
  out.response = tokenizer.encode(one.response);
  request.ask_for(prompt, one.response, std::ssize(out.response));
  render(prompt);
  if (request.learn_token) {
    LengthRequest::ask_for_none(bare);
    render(bare);
    const auto [end, token] = std::ranges::mismatch(bare.ids, prompt.ids);
    if (end != bare.ids.end())
      fail(
          "data.length_request.learn_token: the tokenizer joins the end of the prompt and the "
          "control token ",
          "to one token; give the token another text, or the prompt another end");
    out.response.insert(out.response.begin(), token, prompt.ids.end());
    prompt.ids = std::move(bare.ids);
  }
  out.prompt = std::move(prompt.ids);
  return out;
}

void WarmStart::check() {
  const ModelSpec& spec = trainee_.model.decoder->spec();
  if ((config_.sft.rope_scale > 1 || config_.sft.rope_offset > 0) &&
      (spec.positions != Positions::rope || spec.reach.sinks > 0))
    fail("sft.", config_.sft.rope_scale > 1 ? "rope_scale" : "rope_offset",
         ": moves the positions of RoPE; ",
         spec.reach.sinks > 0 ? "not together with model.attention_sinks" : "the model has none");
  fill_demonstrations(bucket_at(trainee_.progress.step));
  const Example example = example_of(demonstrations_.back());
  const int64_t tokens = std::ssize(example.prompt) + std::ssize(example.response);
  const int64_t room = spec.longest();
  if (tokens - 1 > room)
    fail("sft: a demonstration of data.task = \"", config_.data.task, "\" has ", tokens,
         " tokens, the model only ", room, " positions");
}

// The batch of step `step`; the batches of a bucket come in shuffled order.
std::vector<Example> WarmStart::batch_of(int64_t step) {
  const Bucket bucket = bucket_at(step);
  fill_demonstrations(bucket);
  const int64_t batch = config_.sft.batch_sequences;
  const int64_t place =
      Permutation(static_cast<uint64_t>(config_.run.seed), static_cast<uint64_t>(bucket.number),
                  bucket.batches)(step - bucket.first_step);
  std::vector<Example> examples;
  for (int64_t i = place * batch; i < (place + 1) * batch; ++i) {
    const Demonstration& one = demonstrations_[static_cast<size_t>(i)];
    Rng rng(static_cast<uint64_t>(config_.run.seed), Stream::places, static_cast<uint64_t>(step),
            static_cast<uint64_t>(i));
    Example example = example_of(one);
    example.scale = static_cast<double>(1 + rng.next_below(config_.sft.rope_scale));
    example.offset = static_cast<double>(rng.next_below(config_.sft.rope_offset + 1));
    examples.push_back(std::move(example));
  }
  return examples;
}

void WarmStart::run(RunFolder& folder, const std::atomic<bool>& stop,
                    const std::function<void()>& save) {
  const SftConfig& sft = config_.sft;
  Progress& progress = trainee_.progress;
  const Clock clock;
  const int64_t first = progress.step;
  pulse::enter("warm start");
  for (int64_t step = first; step < sft.steps; ++step) {
    if (team_.ranks.any(stop.load(), "stop of the warm start")) throw Interrupted();
    const Clock step_clock;
    Metrics metrics;
    metrics.set("step", Json(step + 1));
    metrics.set("phase", Json("sft"));
    if (team_.trainers.member())
      count_update(sft_step(trainee_.trained(), *trainee_.optimizer, batch_of(step),
                            sft.loss_divisor, config_.max_tokens_per_microbatch, sft.optimizer,
                            sft.optimizer.rate(step, sft.steps), metrics, team_),
                   config_, progress);
    metrics.set("time/step", step_clock.seconds());
    folder.write_metrics(metrics);
    progress.step = step + 1;
    show(metrics, clock.seconds(), progress.step - first);
    if (sft.save_every > 0 && progress.step % sft.save_every == 0 && progress.step < sft.steps)
      save();
  }
  progress = Progress{.phase = "rl"};
  trainee_.optimizer.reset();  // before the new one takes its memory
  trainee_.optimizer = fresh_optimizer(config_, trainee_.shapes(), team_);
  log::end_progress();
}

void WarmStart::show(const Metrics& metrics, double seconds, int64_t steps_done) const {
  const int64_t steps = config_.sft.steps, step = trainee_.progress.step;
  const int64_t every = isatty(STDERR_FILENO) != 0 ? 10 : std::max<int64_t>(steps / 20, 1);
  if (step % every != 0 && step != steps) return;
  const double each = seconds / static_cast<double>(steps_done);
  log::progress(cat("sft ", step, "/", steps, "  nll ", fixed(metrics.get("nll"), 4), "  ",
                    training_speed(*trainee_.model.decoder, metrics), "  ETA ",
                    human_seconds(each * static_cast<double>(steps - step))));
}

}  // namespace vernier
