// GRPOConfig, TrainingArguments, ModelConfig and ScriptArguments of trl 1.16.
#include "tools/peer_converter.h"

namespace vernier {
namespace {

constexpr std::array kTrlCopies = {
    PeerKey{"output_dir", PeerKey::text, "run", "dir"},
    PeerKey{"run_name", PeerKey::text, "run", "name"},
    PeerKey{"full_determinism", PeerKey::flag, "run", "deterministic"},
    PeerKey{"top_p", PeerKey::number, "rollout", "top_p"},
    PeerKey{"top_k", PeerKey::number, "rollout", "top_k"},
    PeerKey{"min_p", PeerKey::number, "rollout", "min_p"},
    PeerKey{"repetition_penalty", PeerKey::number, "rollout", "repetition_penalty"},
    PeerKey{"beta", PeerKey::number, "algo", "beta"},
    PeerKey{"entropy_coef", PeerKey::number, "algo", "entropy_coef"},
    PeerKey{"top_entropy_quantile", PeerKey::number, "algo", "top_entropy"},
    PeerKey{"delta", PeerKey::number, "algo", "delta"},
    PeerKey{"weight_decay", PeerKey::number, "trainer", "weight_decay"},
    PeerKey{"adam_epsilon", PeerKey::number, "trainer", "eps"},
};

constexpr std::array kTrlReasons = {
    Reason{"vllm_", kOwnEngine},
    Reason{"use_vllm", kOwnEngine},
    Reason{"use_transformers_", kOwnEngine},
    Reason{"transformers_", kOwnEngine},
    Reason{"use_cache", kOwnEngine},
    Reason{"activation_checkpointing_kwargs", "whole layers are recomputed"},
    Reason{"ignore_bias_buffers", "no model here has them"},
    Reason{"use_rslora", "trainer.lora.use_rslora, of use_peft"},
    Reason{"cache_implementation", kOwnEngine},
    Reason{"generation_kwargs", kOwnEngine},
    Reason{"generation_", kOwnEngine},
    Reason{"ds3_gather_for_generation", kOwnEngine},
    Reason{"predict_with_generate", kOwnEngine},
    Reason{"deepspeed", "trainer.shard shards over ranks"},
    Reason{"fsdp", "trainer.shard shards over ranks"},
    Reason{"accelerator_config", kLaunch},
    Reason{"parallelism_config", kLaunch},
    Reason{"ddp_", kLaunch},
    Reason{"local_rank", kLaunch},
    Reason{"tpu_", kLaunch},
    Reason{"use_cpu", "run.device"},
    Reason{"no_cuda", "run.device"},
    Reason{"report_to", kTrackers},
    Reason{"trackio_", kTrackers},
    Reason{"project", kTrackers},
    Reason{"logging_", kTrackers},
    Reason{"log_", "log.rollouts and vernier serve show responses"},
    Reason{"include_", kTrackers},
    Reason{"disable_tqdm", kTrackers},
    Reason{"num_completions_to_print", kTrackers},
    Reason{"wandb_", kTrackers},
    Reason{"push_to_hub", kHub},
    Reason{"hub_", kHub},
    Reason{"trust_remote_code", "models are read, never run as code"},
    Reason{"model_revision", kHub},
    Reason{"dtype", "weights are fp32, products by trainer.precision"},
    Reason{"torch_dtype", "weights are fp32, products by trainer.precision"},
    Reason{"attn_implementation", "Vernier has its own"},
    Reason{"use_liger", "the head is fused anyway"},
    Reason{"use_liger_kernel", "the head is fused anyway"},
    Reason{"cast_lm_head_to_fp32", "the head is in fp32"},
    Reason{"liger_kernel_config", "the head is fused anyway"},
    Reason{"torch_compile", "there is nothing to compile"},
    Reason{"jit_mode_eval", "there is nothing to compile"},
    Reason{"torch_empty_cache_steps", "memory is planned, not cached"},
    Reason{"tf32", "fp32 products are in fp32"},
    Reason{"fp16", "trainer.precision has fp32 and bf16"},
    Reason{"bf16_full_eval", "evaluations draw with the engine"},
    Reason{"fp16_", "trainer.precision has fp32 and bf16"},
    Reason{"half_precision_backend", "trainer.precision has fp32 and bf16"},
    Reason{"gradient_checkpointing_kwargs", "whole layers are recomputed"},
    Reason{"disable_dropout", "no model here has dropout"},
    Reason{"router_aux_loss_coef", "no experts"},
    Reason{"load_in_", "weights are fp32"},
    Reason{"bnb_4bit", "weights are fp32"},
    Reason{"use_bnb", "weights are fp32"},
    Reason{"pad_to_multiple_of", kNeverPads},
    Reason{"max_prompt_length", "a prompt that is too long is an error"},
    Reason{"remove_unused_columns", "rewards see the whole row"},
    Reason{"label_", "no labels"},
    Reason{"past_index", "of other models"},
    Reason{"dataloader_", "rows are read as they are needed"},
    Reason{"group_by_length", kNeverPads},
    Reason{"length_column_name", kNeverPads},
    Reason{"train_sampling_strategy", kNeverPads},
    Reason{"eval_accumulation_steps", "evaluations keep no logits"},
    Reason{"per_device_eval_batch_size", "the engine batches by itself"},
    Reason{"eval_delay", kNotBuilt},
    Reason{"eval_on_start", "the start is always evaluated"},
    Reason{"eval_do_concat_batches", kNotBuilt},
    Reason{"eval_use_gather_object", kNotBuilt},
    Reason{"batch_eval_metrics", kNotBuilt},
    Reason{"load_best_model_at_end", "[guard] keeps the best within a bound of accuracy"},
    Reason{"metric_for_best_model", "[guard] holds accuracy"},
    Reason{"greater_is_better", "[guard] holds accuracy"},
    Reason{"do_", "train, eval and generate are commands"},
    Reason{"save_safetensors", "always"},
    Reason{"save_on_each_node", "one rank writes"},
    Reason{"save_only_model", "checkpoints are whole"},
    Reason{"save_total_limit", "see run.keep_checkpoints"},
    Reason{"enable_jit_checkpoint", "SIGTERM saves always"},
    Reason{"resume_from_checkpoint", "--resume"},
    Reason{"restore_callback_states_from_checkpoint", "--resume"},
    Reason{"overwrite_output_dir", "--resume never"},
    Reason{"ignore_data_skip", "a resumed run goes on where it was"},
    Reason{"data_seed", "run.seed is for all"},
    Reason{"skip_memory_metrics", "always measured"},
    Reason{"neftune_noise_alpha", kNotBuilt},
    Reason{"lr_scheduler_kwargs", "trainer.schedule and final_ratio"},
    Reason{"optim_", kNotBuilt},
    Reason{"adafactor", kNotBuilt},
    Reason{"average_tokens_across_devices", "always"},
    Reason{"auto_find_batch_size", "vernier plan finds it"},
    Reason{"debug", kNotBuilt},
    Reason{"prediction_loss_only", kNotBuilt},
    Reason{"use_mps_device", kNotBuilt},
    Reason{"mp_parameters", kNotBuilt},
    Reason{"ray_scope", kNotBuilt},
    Reason{"sync_ref_model", kNotBuilt},
    Reason{"ref_model_", kNotBuilt},
    Reason{"off_policy_mask_threshold", "algo.opsm_threshold, by the same rule"},
    Reason{"use_bias_correction_kl", kNotBuilt},
    Reason{"model_init_kwargs", kNotBuilt},
    Reason{"chat_template", "model.chat_format"},
    Reason{"chat_template_kwargs", "model.chat_format"},
    Reason{"num_generations_eval", "eval.n"},
    Reason{"shuffle_dataset", "data.shuffle"},
    Reason{"vespo_", "algo.k_positive and its like, with the same defaults"},
    Reason{"sapo_", "algo.tau_positive and tau_negative, with the same defaults"},
    Reason{"use_adaptive_entropy", "algo.entropy_target"},
    Reason{"entropy_coef_", "algo.entropy_coef_min and its like"},
    Reason{"entropy_target", "algo.entropy_target, of use_adaptive_entropy"},
    Reason{"dataset_config", kHub},
    Reason{"dataset_train_split", kHub},
    Reason{"dataset_test_split", kHub},
    Reason{"dataset_streaming", "rows are read as they are needed"},
    Reason{"datasets", "[[data.source]]"},
    Reason{"reward_model_name_or_path", "a reward behind a URL (docs/rewards.md)"},
    Reason{"max_tool_calling_iterations", kNotBuilt},
    Reason{"environment_factory", kNotBuilt},
    Reason{"max_steps", "run.steps"},
    Reason{"lora_", "trainer.lora has rank, alpha, targets and use_rslora"},
    Reason{"use_dora", kNotBuilt},
    Reason{"shuffle_buffer", kNotBuilt},
};

class FromTrl : public Converter {
 public:
  using Converter::Converter;

  PeerConfig convert() {
    run_and_data();
    batches();
    evaluations();
    saves();
    algorithm();
    rewards();
    optimizer();
    account_for_rest(kTrlReasons);
    out_.from = "trl";
    out_.toml = toml_.str();
    return out_;
  }

 private:
  void run_and_data() {
    number("run", "seed", "seed", 42);
    copy(std::span(kTrlCopies).first(3));
    checkpoints("save_total_limit");
    model("model_name_or_path");
    if (const auto name = tree_.text("dataset_name")) data("train", *name, false);
  }

  // A generation of TRL is a step here: generation_batch_size responses.
  void batches() {
    const auto ranks = static_cast<double>(options_.ranks);
    const double device = tree_.whole("per_device_train_batch_size").value_or(8);
    const double accumulated = tree_.whole("gradient_accumulation_steps").value_or(1);
    const auto per_generation = tree_.whole("steps_per_generation");
    const auto of_generation = tree_.whole("generation_batch_size");
    if (per_generation && of_generation)
      fail(tree_.name(),
           ": generation_batch_size and steps_per_generation are both given; TRL takes one of "
           "them");
    const double responses =
        of_generation.value_or(device * per_generation.value_or(accumulated) * ranks);
    const double group = tree_.whole("num_generations").value_or(8);
    if (std::fmod(responses, group) != 0)
      fail(tree_.name(), ": a generation of ", toml_number(responses),
           " responses (per_device_train_batch_size * "
           "steps_per_generation * ",
           options_.ranks, " ranks) is no whole number of groups of ", toml_number(group));
    toml_.number("rollout", "num_generations", group);
    toml_.number("rollout", "prompts_per_step", responses / group);
    whole("rollout", "max_completion_length", "max_completion_length", 512);
    number("rollout", "temperature", "temperature", 1);
    copy(std::span(kTrlCopies).subspan(3, 4));
    const double update = device * accumulated * ranks;
    if (update < responses) toml_.number("trainer", "samples_per_update", update);
    if (update > responses)
      toml_.comment("trainer", cat("TRL updates on ", toml_number(update),
                                   " responses, of several generations; here on those of one"));
    const double iterations = tree_.whole("num_iterations").value_or(1);
    if (iterations > 1) leave_out("num_iterations", "each response is learned from once");
    updates_per_step_ = responses * iterations / update;
    const double updates = tree_.whole("max_steps", -1).value_or(-1);
    steps(updates > 0 ? std::optional(in_steps("run", "max_steps", updates)) : std::nullopt,
          "num_train_epochs", 3, responses / group);
  }

  // Up to a whole number, at least 1. Says in a comment what it comes from.
  double rounded(const std::string& section, const std::string& from, double exact) {
    constexpr double kNoise = 1e-9;  // of products of decimal fractions
    const double up = std::ceil(exact - kNoise);
    toml_.comment(section, cat(from, up > exact + kNoise ? ", rounded up" : ""));
    return std::max(1.0, up);
  }

  // TRL counts updates. A step here is a generation.
  double in_steps(const std::string& section, const std::string& key, double updates) {
    if (updates_per_step_ == 1) return updates;
    return rounded(section,
                   cat(key, " = ", toml_number(updates), " updates, ",
                       toml_number(updates_per_step_), " to a step here"),
                   updates / updates_per_step_);
  }

  // A number of updates, or below 1 a share of all.
  double updates_or_share(const std::string& key, double default_updates) {
    const double value = tree_.number(key).value_or(default_updates);
    if (value < 0 || (value > 1 && value != std::floor(value)))
      fail(tree_.name(), ": ", key, ": ", tree_.written(key),
           " is neither a whole number of at least 0 nor a share of all steps below 1");
    return value;
  }

  void counted(const std::string& section, const std::string& to, const std::string& key,
               double updates) {
    if (updates == 0 || updates >= 1)
      return toml_.number(section, to, updates == 0 ? 0 : in_steps(section, key, updates));
    if (!steps_)
      return leave_out(key, cat("a share of all steps, and how many is not known; give --rows, or "
                                "write ",
                                section, '.', to));
    toml_.number(section, to,
                 rounded(section, cat(key, " = ", updates, " of all steps"), updates * *steps_));
  }

  void each_epoch(const std::string& to, const std::string& key) {
    if (!epoch_)
      return leave_out(key,
                       cat("the steps of an epoch are not known; give --rows, or write run.", to));
    toml_.number("run", to,
                 rounded("run", cat(key, " = epoch, of ", options_.rows, " rows"), *epoch_));
  }

  std::string strategy(const std::string& key, const std::string& trls_default,
                       std::span<const std::string> allowed) {
    std::string out = tree_.text(key).value_or(trls_default);
    if (out == "false" || out == "False") out = "no";  // which is the same in YAML
    if (std::ranges::find(allowed, out) == allowed.end())
      fail(tree_.name(), ": ", key, ": '", in_short(out), "' is none of ", join(allowed));
    return out;
  }

  void evaluations() {
    const std::vector<std::string> allowed = {"no", "steps", "epoch"};
    const std::string when = strategy("eval_strategy", "no", allowed);
    std::string key = "eval_steps";
    double updates = updates_or_share(key, 0);
    if (when != "steps" && tree_.has(key)) leave_out(key, cat("eval_strategy is ", when));
    if (when != "no")
      toml_.comment("data", "eval = a file of evaluation prompts, which TRL was given apart");
    if (when == "epoch") each_epoch("eval_every", "eval_strategy");
    if (when != "steps") return;
    if (updates == 0) {
      key = "logging_steps";
      updates = updates_or_share(key, 10);
      if (tree_.has(key)) leave_out(key, kTrackers);
      toml_.comment("run", "TRL evaluates every logging_steps where eval_steps is not set");
    }
    counted("run", "eval_every", key, updates);
  }

  void saves() {
    const std::vector<std::string> allowed = {"no", "steps", "epoch", "best"};
    const std::string when = strategy("save_strategy", "steps", allowed);
    const double updates = updates_or_share("save_steps", 500);
    if (when != "steps" && tree_.has("save_steps"))
      leave_out("save_steps", cat("save_strategy is ", when));
    if (when == "steps") counted("run", "save_every", "save_steps", updates);
    if (when == "epoch") each_epoch("save_every", "save_strategy");
    if (when == "best")
      leave_out("save_strategy", "[guard] keeps the best within a bound of accuracy");
  }

  void algorithm() {
    struct Loss {
      const char *name, *type, *aggregation;
    };
    constexpr std::array kLosses = {Loss{"grpo", "grpo", "seq-mean-token-mean"},
                                    Loss{"dr_grpo", "dr_grpo", ""},
                                    Loss{"dapo", "grpo", "token-mean"},
                                    Loss{"bnpo", "grpo", "token-mean"},
                                    Loss{"cispo", "cispo", ""},
                                    Loss{"sapo", "sapo", ""},
                                    Loss{"luspo", "grpo", "luspo"},
                                    Loss{"vespo", "grpo", "vespo"}};
    const std::string name = tree_.text("loss_type").value_or("dapo");
    const auto loss = std::find_if(kLosses.begin(), kLosses.end(),
                                   [&](const Loss& one) { return name == one.name; });
    if (loss == kLosses.end())
      fail(tree_.name(), ": loss_type: '", in_short(name), "' is not known");
    const bool sequences = tree_.text("importance_sampling_level").value_or("token") == "sequence";
    toml_.text("algo", "type", sequences ? "gspo" : loss->type);
    const std::string aggregation = loss->aggregation;
    if (aggregation == "luspo" || aggregation == "vespo")
      toml_.text("algo", "loss", aggregation);
    else if (!sequences && !aggregation.empty())
      toml_.text("algo", "loss_aggregation", aggregation);
    if (name == "bnpo")
      toml_.comment(
          "algo",
          "bnpo is the mean over the tokens of a micro-batch; here it is over the update's");
    if (aggregation.find("seq-mean") != std::string::npos)
      toml_.text("algo", "sequence_count", "trl");
    const double low = tree_.number("epsilon").value_or(0.2);
    const double high = tree_.number("epsilon_high").value_or(low);
    const bool clips = sequences || (name != "cispo" && name != "sapo" && name != "vespo");
    if (clips) toml_.number("algo", "epsilon", low);
    if (clips || name == "cispo") toml_.number("algo", "epsilon_high", high);
    std::string scale = tree_.text("scale_rewards").value_or("group");
    if (scale == "true" || scale == "True") scale = "group";
    if (scale == "false" || scale == "False") scale = "none";
    const bool by_part = tree_.text("multi_objective_aggregation").value_or("sum_then_normalize") !=
                         "sum_then_normalize";
    if (by_part)
      toml_.text("algo", "advantage", "gdpo");
    else if (name != "dr_grpo" || tree_.has("scale_rewards"))
      toml_.text("algo", "scale_rewards", scale);
    if (by_part && tree_.has("scale_rewards"))
      leave_out("scale_rewards", "each reward is divided by its own deviation");
    copy(std::span(kTrlCopies).subspan(7, 3));
    if (clips && !sequences && name != "luspo")
      copy(std::span(kTrlCopies).subspan(10, 1));
    else if (tree_.number("delta"))
      leave_out("delta", cat("of the clipped loss by token, not of ",
                             sequences ? "importance_sampling_level: sequence" : name));
    if (tree_.flag("mask_truncated_completions").value_or(false))
      toml_.text(toml_.entry("[transform]"), "type", "overlong_mask");
  }

  void rewards() {
    struct Known {
      const char *name, *type;
    };
    constexpr std::array kKnown = {
        Known{"accuracy_reward", "accuracy"}, Known{"reasoning_accuracy_reward", "accuracy"},
        Known{"think_format_reward", "tags"}, Known{"get_soft_overlong_punishment", "overlong"},
        Known{"soft_overlong_punishment", "overlong"}};
    const std::vector<std::string> names = tree_.list("reward_funcs");
    const std::vector<double> weights = tree_.numbers("reward_weights");
    const size_t first = tree_.has("reward_model_name_or_path") ? 1 : 0;  // of the weights
    if (names.empty() && !weights.empty())
      leave_out("reward_weights", "reward_funcs does not say of what");
    else if (!weights.empty() && weights.size() != first + names.size())
      fail(tree_.name(), ": reward_weights: ", weights.size(), " numbers for ",
           first + names.size(), " rewards; one for each is wanted");
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[i];
      const auto known = std::find_if(kKnown.begin(), kKnown.end(),
                                      [&](const Known& one) { return name.ends_with(one.name); });
      if (known == kKnown.end()) {
        out_.left_out.push_back(cat("reward_funcs: ", in_short(name),
                                    ": a reward of your own: a program, a library or a URL "
                                    "(docs/rewards.md)"));
        continue;
      }
      const std::string entry = toml_.entry("[reward]");
      toml_.text(entry, "type", known->type);
      if (!weights.empty()) toml_.number(entry, "weight", weights[first + i]);
    }
    if (names.empty()) toml_.text(toml_.entry("[reward]"), "type", "accuracy");
  }

  // warmup_ratio is of older versions, which take warmup_steps where both are given.
  void warmup() {
    const double updates = updates_or_share("warmup_steps", 0);
    const double ratio = tree_.number("warmup_ratio").value_or(0);
    if (ratio < 0 || ratio >= 1)
      fail(tree_.name(), ": warmup_ratio: ", tree_.written("warmup_ratio"),
           " is no share of all steps, from 0 to below 1");
    if (updates > 0 || ratio == 0) {
      if (tree_.has("warmup_steps")) counted("trainer", "warmup_steps", "warmup_steps", updates);
      if (ratio > 0) leave_out("warmup_ratio", "warmup_steps is given, and goes before it");
    } else {
      counted("trainer", "warmup_steps", "warmup_ratio", ratio);
    }
  }

  void optimizer() {
    number("trainer", "learning_rate", "learning_rate", 1e-6);
    const std::string schedule = tree_.text("lr_scheduler_type").value_or("linear");
    if (schedule == "linear" || schedule == "cosine" || schedule == "constant")
      toml_.text("trainer", "schedule", schedule);
    else if (schedule == "constant_with_warmup")
      toml_.text("trainer", "schedule", "constant");
    else
      leave_out("lr_scheduler_type", "trainer.schedule has constant, linear and cosine");
    warmup();
    const std::array betas = {tree_.number("adam_beta1").value_or(0.9),
                              tree_.number("adam_beta2").value_or(0.999)};
    toml_.numbers("trainer", "betas", betas);
    number("trainer", "grad_clip", "max_grad_norm", 1);
    copy(std::span(kTrlCopies).subspan(11));
    const auto again = tree_.flag("activation_checkpointing");  // by its new name, and its old one
    const auto older = tree_.flag("gradient_checkpointing");
    if (again || older)
      toml_.flag("trainer", "activation_checkpointing", again.value_or(older.value_or(false)));
    if (tree_.flag("bf16").value_or(false)) toml_.text("trainer", "precision", "bf16");
    const std::string optimizer = tree_.text("optim").value_or("adamw_torch");
    if (optimizer.find("8bit") != std::string::npos)
      toml_.text("trainer", "optimizer", "adamw_8bit");
    else if (!optimizer.starts_with("adamw"))
      leave_out("optim", "trainer.optimizer has adamw and adamw_8bit");
    if (!tree_.flag("use_peft").value_or(false)) return;
    whole("trainer.lora", "rank", "lora_r", 16);
    toml_.number("trainer.lora", "alpha", tree_.number("lora_alpha").value_or(32));
    if (tree_.flag("use_rslora").value_or(false)) toml_.flag("trainer.lora", "use_rslora", true);
    std::string targets;
    for (const std::string& target : tree_.list("lora_target_modules"))
      if (target != "all-linear") targets += cat(targets.empty() ? "" : ", ", toml_text(target));
    if (!targets.empty()) toml_.raw("trainer.lora", "targets", cat('[', targets, ']'));
  }

  double updates_per_step_ = 1;  // responses learned from num_iterations times, in updates of TRL
};

}  // namespace

PeerConfig convert_trl(PeerTree& tree, const PeerConfigOptions& options) {
  return FromTrl(tree, options).convert();
}

}  // namespace vernier
