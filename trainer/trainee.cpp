#include "trainer/trainee.h"

#include <ATen/ATen.h>

#include <functional>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rollout/device_steps.h"
#include "rollout/response_draw.h"
#include "trainer/job_ranks.h"

namespace vernier {

namespace {

// The weights that adapters lie on are in no checkpoint: they are read where the run read them
// first.
Model load_adapted(const RunConfig& config, const std::optional<fs::path>& checkpoint) {
  Model model =
      load_model(config.model_path, {.max_length = config.max_length, .reach = config.reach});
  Decoder& decoder = *model.decoder;
  decoder.adapt(*config.lora, config.model_path, static_cast<uint64_t>(config.run.seed));
  if (checkpoint) {
    decoder.adapters()->load(*checkpoint / kAdapterFolder);
    decoder.trained_weights_changed();
  }
  const double base_mb = static_cast<double>(decoder.adapters()->base_bytes()) / (1 << 20);
  log::info(cat("adapters of rank ", config.lora->rank, " in ", join(config.lora->targets, ", "),
                ": ", decoder.adapters()->num_parameters(), " numbers are trained; ",
                fixed(base_mb, 1), " MB hold the weights that they lie on"));
  return model;
}

void check_adapter(const RunConfig& config, const fs::path& checkpoint) {
  const bool has = fs::exists(checkpoint / kAdapterFolder);
  if (has != config.lora.has_value())
    fail(checkpoint.string(),
         has ? ": has an adapter, and [trainer.lora] is not given"
             : ": has no adapter, and [trainer.lora] is given",
         "; the run was made otherwise");
}

}  // namespace

std::unique_ptr<OptimizerState> fresh_optimizer(const RunConfig& config, Decoder& decoder,
                                                const Team& team) {
  if ((config.shard == "none" || team.trainers.alone()) && team.trainers.member())
    return std::make_unique<OptimizerState>(decoder, config.moments_in_bytes);
  return std::make_unique<OptimizerState>(decoder, config.moments_in_bytes, team.trainers);
}

namespace {

// Where the weights are read from; none: they are new.
std::optional<ModelSource> source_of(const RunConfig& config,
                                     const std::optional<fs::path>& checkpoint) {
  std::optional<ModelSource> source;
  if (checkpoint)
    source.emplace(checkpoint->string());
  else if (!config.new_model)
    source.emplace(config.model_path);
  return source;
}

ModelHead head_of(const RunConfig& config, const std::optional<ModelSource>& source) {
  return source ? read_head(*source, config.max_length, config.reach)
                : read_head(*config.new_model);
}

// On ranks that train and do not draw: no rank ever has all weights.
void load_slices(const RunConfig& config, const std::optional<fs::path>& checkpoint,
                 const Team& team, Trainee& out) {
  const std::optional<ModelSource> source = source_of(config, checkpoint);
  ModelHead head = head_of(config, source);
  out.model.tokenizer = std::move(head.tokenizer);
  out.model.decoder = std::make_unique<Decoder>(head.spec, true, at::kFloat, at::kMeta);
  Decoder& decoder = *out.model.decoder;
  const auto fill = [&](int64_t unit) {
    if (source) return read_weights(*source, decoder, decoder.slices_of(unit));
    decoder.randomize(static_cast<uint64_t>(config.run.seed), config.new_model->embedding_std,
                      config.new_model->residual_scale, unit);
  };
  out.sharded = std::make_unique<ShardedWeights>(decoder, team.trainers, config.device(), fill);
}

// On ranks that draw as one.
void begin_part(const RunConfig& config, const std::optional<fs::path>& checkpoint, Ranks& partners,
                Trainee& out) {
  ModelHead head = head_of(config, source_of(config, checkpoint));
  if (const auto problem = part_problem(head.spec, partners.size()); !problem.empty())
    fail("rollout.tensor_parallel_size: ", problem);
  out.part = {.rank = partners.rank(), .size = partners.size()};
  out.whole = std::make_unique<Decoder>(head.spec, false, at::kFloat, at::kMeta);
  out.model.tokenizer = std::move(head.tokenizer);
  out.model.decoder = std::make_unique<Decoder>(part_of(head.spec, partners.size()), false,
                                                at::kFloat, config.device());
  out.model.decoder->compute_in_parts(parts_of(partners));
}

void load_weights(const RunConfig& config, const std::optional<fs::path>& checkpoint,
                  const Team& team, Trainee& out) {
  if (team.partners != nullptr) return begin_part(config, checkpoint, *team.partners, out);
  const bool trains = team.trainers.member(), sharded = trains && shares_weights(config, team);
  if (sharded && !team.draws()) return load_slices(config, checkpoint, team, out);
  const LoadOptions options{.trained = trains && !sharded,
                            .max_length = config.max_length,
                            .device = config.device(),
                            .reach = config.reach};
  if (config.lora)
    out.model = load_adapted(config, checkpoint);
  else if (checkpoint)
    out.model = load_model(checkpoint->string(), options);
  else if (config.new_model)
    out.model = new_model(*config.new_model, static_cast<uint64_t>(config.run.seed),
                          options.trained, options.device);
  else
    out.model = load_model(config.model_path, options);
  if (!sharded) return;
  out.apart = std::make_unique<Decoder>(out.model.decoder->spec(), true, at::kFloat, at::kMeta);
  out.sharded = sharded_copy(*out.apart, team, *out.model.decoder);
}

}  // namespace

bool shares_weights(const RunConfig& config, const Team& team) {
  return config.shard == "full" && !team.trainers.alone();
}

std::unique_ptr<ShardedWeights> sharded_copy(Decoder& copy, const Team& team, Decoder& from) {
  const at::NoGradGuard no_grad;
  return std::make_unique<ShardedWeights>(copy, team.trainers, from.device(), [&](int64_t unit) {
    copy.unit_weights(unit).copy_(from.unit_weights(unit));
  });
}

Trainee load_trainee(RunConfig& config, const std::optional<fs::path>& checkpoint,
                     const Team& team) {
  Trainee out;
  if (checkpoint) check_adapter(config, *checkpoint);
  load_weights(config, checkpoint, team, out);
  out.model.decoder->training = out.trained().training = config.training;
  *config.decode = [tokenizer = out.model.tokenizer](std::span<const int32_t> ids) {
    return tokenizer->decode(ids);
  };
  out.chat_format = choose_chat_format(config.chat_format, out.model.tokenizer->chat_template(),
                                       checkpoint         ? checkpoint->string()
                                       : config.new_model ? "model.new"
                                                          : config.model_path);
  out.optimizer = fresh_optimizer(config, out.shapes(), team);
  if (checkpoint) {
    out.progress = load_trainer_state(*checkpoint, config.rollout.prompts_per_step, *out.optimizer);
    if (!out.progress.algorithm.is_null()) config.algorithm->restore(out.progress.algorithm);
    config.chain.restore(out.progress.rewards);
    log::info(cat("resuming from ", checkpoint->string(), ": ", out.progress.phase, " step ",
                  out.progress.step));
  }
  // Names what the model does not have now, and not after the warm start.
  if (config.device().is_cuda() && (config.run.steps > 0 || config.run.eval_every > 0))
    check_device_draw(out.model.decoder->spec());
  const DrawRules rules(config.rollout, *out.model.tokenizer, out.model.decoder->spec());
  log::info(cat("model: ", out.shapes().num_parameters(), " parameters, tokenizer ",
                out.model.tokenizer->kind(), " of ", out.model.tokenizer->size(),
                " ids, chat format ", out.chat_format.name));
  return out;
}

void go_back(Trainee& trainee, RunConfig& config, const fs::path& checkpoint) {
  if (const std::string problem = check_checkpoint(checkpoint); !problem.empty())
    fail_run(checkpoint.string(), ": cannot be gone back to: ", problem);
  Decoder& decoder = *trainee.model.decoder;
  const ModelSource source(checkpoint.string());
  if (Adapters* adapters = decoder.adapters()) {
    adapters->load(checkpoint / kAdapterFolder);
    decoder.trained_weights_changed();
  } else if (decoder.store() != nullptr) {
    trainee.sharded->take(
        [&](int64_t unit) { read_weights(source, decoder, decoder.slices_of(unit)); });
  } else if (!trainee.whole) {
    decoder.weights().copy_(
        load_model(source, {.max_length = config.max_length, .reach = config.reach})
            .decoder->weights());
    decoder.trained_weights_changed();
    if (trainee.sharded) trainee.sharded->take(decoder.weights());
  }
  const Progress progress =
      load_trainer_state(checkpoint, config.rollout.prompts_per_step, *trainee.optimizer);
  trainee.progress.algorithm = progress.algorithm;
  if (!progress.algorithm.is_null()) config.algorithm->restore(progress.algorithm);
  config.chain.restore(progress.rewards);
}

void count_update(const UpdateResult& result, const RunConfig& config, Progress& progress) {
  progress.nonfinite_in_a_row = result.applied ? 0 : progress.nonfinite_in_a_row + 1;
  if (result.applied) return;
  log::warn(
      cat("step ", progress.step + 1, ": the gradient is not finite; the update was skipped"));
  if (progress.nonfinite_in_a_row > config.max_nonfinite_updates)
    fail_run(progress.nonfinite_in_a_row,
             " updates in a row were not finite (guard."
             "max_nonfinite_updates = ",
             config.max_nonfinite_updates,
             "); the weights are those of "
             "the last good update");
}

}  // namespace vernier
