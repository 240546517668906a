// ppo_trainer.yaml of verl 0.9.
#include "tools/peer_converter.h"

namespace vernier {
namespace {

constexpr const char* kModel = "actor_rollout_ref.model.";
constexpr const char* kActor = "actor_rollout_ref.actor.";
constexpr const char* kRollout = "actor_rollout_ref.rollout.";

constexpr std::array kVerlReasons = {
    Reason{"actor_rollout_ref.rollout.", kOwnEngine},
    Reason{"actor_rollout_ref.ref.", "the reference policy is computed as the policy is"},
    Reason{"actor_rollout_ref.actor.megatron", "trainer.shard shards over ranks"},
    Reason{"actor_rollout_ref.actor.fsdp", "trainer.shard shards over ranks"},
    Reason{"actor_rollout_ref.actor.veomni", "trainer.shard shards over ranks"},
    Reason{"actor_rollout_ref.actor.torchtitan", "trainer.shard shards over ranks"},
    Reason{"actor_rollout_ref.actor.strategy", "trainer.shard shards over ranks"},
    Reason{"actor_rollout_ref.actor.ulysses", kNotBuilt},
    Reason{"actor_rollout_ref.actor.checkpoint", "checkpoints are whole"},
    Reason{"actor_rollout_ref.actor.profiler", "metrics have times by phase"},
    Reason{"actor_rollout_ref.actor.optim.", "trainer has AdamW"},
    Reason{"actor_rollout_ref.actor.policy_loss.", "keys of algo for each loss"},
    Reason{"actor_rollout_ref.actor.", "of how verl computes"},
    Reason{"actor_rollout_ref.model.", "of how verl computes"},
    Reason{"actor_rollout_ref.", kLaunch},
    Reason{"data.", "rows are read as they are needed, of text alone"},
    Reason{"critic.", "no method here has a critic"},
    Reason{"reward_model.", "a reward behind a URL (docs/rewards.md)"},
    Reason{"reward.", "[[reward]] (docs/rewards.md)"},
    Reason{"custom_reward_function.",
           "a reward of your own: a program, a library or a URL (docs/rewards.md)"},
    Reason{"sandbox_fusion.", "a reward behind a URL (docs/rewards.md)"},
    Reason{"algorithm.", kNotBuilt},
    Reason{"distillation.", kNotBuilt},
    Reason{"trainer.logger", kTrackers},
    Reason{"trainer.project_name", kTrackers},
    Reason{"trainer.log_val_generations", "eval/step_N.jsonl has them"},
    Reason{"trainer.rollout_data_dir", "log.rollouts"},
    Reason{"trainer.validation_data_dir", "eval/step_N.jsonl"},
    Reason{"trainer.", kLaunch},
    Reason{"ray_kwargs", kLaunch},
    Reason{"ray_init", kLaunch},
    Reason{"global_profiler", "metrics have times by phase"},
    Reason{"transfer_queue", kLaunch},
    Reason{"skip.", kOwnEngine},
    Reason{"async_training", "rollout.max_staleness"},
    Reason{"model_engine", "trainer.shard shards over ranks"},
};

class FromVerl : public Converter {
 public:
  using Converter::Converter;

  PeerConfig convert() {
    run_and_data();
    rollout();
    algorithm();
    loss();
    kl();
    rewards();
    optimizer();
    account_for_rest(kVerlReasons);
    out_.from = "verl";
    out_.toml = toml_.str();
    return out_;
  }

 private:
  void run_and_data() {
    const auto dir = tree_.text("trainer.default_local_dir");
    if (dir && dir->find("${") == std::string::npos)
      toml_.text("run", "dir", *dir);
    else if (const auto name = tree_.text("trainer.experiment_name"))
      toml_.text("run", "dir", cat("runs/", *name));
    if (const auto every = tree_.whole("trainer.test_freq", -1); every && *every > 0)
      toml_.number("run", "eval_every", *every);
    if (const auto every = tree_.whole("trainer.save_freq", -1); every && *every > 0)
      toml_.number("run", "save_every", *every);
    checkpoints("trainer.max_actor_ckpt_to_keep");
    model(cat(kModel, "path"));
    for (const auto& [from, to] :
         {std::pair("data.train_files", "train"), {"data.val_files", "eval"}})
      if (const std::vector<std::string> files = tree_.list(from); !files.empty())
        data(to, files.front(), files.size() > 1);
    if (const auto field = tree_.text("data.prompt_key"); field && *field != "prompt")
      toml_.text("data", "prompt_field", *field);
    toml_.text("data", "answer_field", "reward_model.ground_truth");
    if (const auto shuffle = tree_.flag("data.shuffle")) toml_.flag("data", "shuffle", *shuffle);
    tree_.text("data.reward_fn_key");  // data_source, which Vernier reads by that name
  }

  void rollout() {
    prompts_ = tree_.whole("data.train_batch_size").value_or(1024);
    group_ = tree_.whole(cat(kRollout, "n")).value_or(1);
    toml_.number("rollout", "num_generations", group_);
    toml_.number("rollout", "prompts_per_step", prompts_);
    whole("rollout", "max_completion_length", "data.max_response_length", 512);
    number("rollout", "temperature", cat(kRollout, "temperature"), 1);
    if (const auto top_p = tree_.number(cat(kRollout, "top_p")))
      toml_.number("rollout", "top_p", *top_p);
    if (const auto top_k = tree_.whole(cat(kRollout, "top_k"), -1); top_k && *top_k > 0)
      toml_.number("rollout", "top_k", *top_k);
    steps(tree_.whole("trainer.total_training_steps"), "trainer.total_epochs", 30, prompts_);
    if (const auto n = tree_.whole(cat(kRollout, "val_kwargs.n"))) toml_.number("eval", "n", *n);
    const double temperature = tree_.number(cat(kRollout, "val_kwargs.temperature")).value_or(0);
    if (temperature > 0)
      toml_.number("eval", "temperature", temperature);
    else
      toml_.comment("eval",
                    "verl evaluates greedily (temperature 0); Vernier samples, at 1 if not told");
    if (tree_.flag("algorithm.filter_groups.enable").value_or(false)) {
      toml_.text("rollout.filter", "rule", "spread");
      toml_.text("rollout.filter", "refill", "batches");
      const std::string metric = tree_.text("algorithm.filter_groups.metric").value_or("acc");
      toml_.text("rollout.filter", "metric", metric == "acc" ? "accuracy" : "reward");
      if (const auto most = tree_.whole("algorithm.filter_groups.max_num_gen_batches", -1);
          most && *most > 0)
        toml_.number("rollout.filter", "max_num_gen_batches", *most);
      if (const auto batch = tree_.whole("data.gen_batch_size"))
        toml_.number("rollout.filter", "gen_batch_prompts", *batch);
    }
  }

  void algorithm() {
    struct Estimator {
      const char *name, *type, *advantage;
    };
    constexpr std::array kEstimators = {
        Estimator{"grpo", "grpo", ""},
        Estimator{"rloo", "grpo", "rloo"},
        Estimator{"opo", "grpo", "opo"},
        Estimator{"remax", "grpo", "remax"},
        Estimator{"gpg", "grpo", "gpg"},
        Estimator{"gdpo", "grpo", "gdpo"},
        Estimator{"grpo_passk", "grpo", "grpo_passk"},
        Estimator{"grpo_vectorized", "grpo", ""},
        Estimator{"rloo_vectorized", "grpo", "rloo"},
        Estimator{"reinforce_plus_plus", "grpo", "reinforce_plus_plus"},
        Estimator{"reinforce_plus_plus_baseline", "grpo", "reinforce_plus_plus_baseline"}};
    const std::string name = tree_.text("algorithm.adv_estimator").value_or("gae");
    const auto found = std::find_if(kEstimators.begin(), kEstimators.end(),
                                    [&](const Estimator& one) { return name == one.name; });
    toml_.text("algo", "type", "grpo");
    if (found == kEstimators.end())
      leave_out("algorithm.adv_estimator",
                name == "gae" ? "needs a critic, which no method here has; grpo stands in its place"
                              : "not known; grpo stands in its place");
    else if (*found->advantage != '\0')
      toml_.text("algo", "advantage", found->advantage);
    const bool is_grpo = found == kEstimators.end() || *found->advantage == '\0';
    if (!tree_.flag("algorithm.norm_adv_by_std_in_grpo").value_or(true)) {
      if (is_grpo)
        toml_.text("algo", "scale_rewards", "none");
      else
        leave_out("algorithm.norm_adv_by_std_in_grpo", cat("of grpo, not of ", name));
    }
    if (name == "reinforce_plus_plus") number("algo", "gamma", "algorithm.gamma", 1);
  }

  void loss() {
    const double clip = tree_.number(cat(kActor, "clip_ratio")).value_or(0.2);
    const double low = tree_.number(cat(kActor, "clip_ratio_low")).value_or(clip);
    const double high = tree_.number(cat(kActor, "clip_ratio_high")).value_or(clip);
    const std::string mode = tree_.text(cat(kActor, "policy_loss.loss_mode")).value_or("vanilla");
    struct Mode {
      const char *name, *loss;
    };
    constexpr std::array kModes = {
        Mode{"vanilla", ""},      Mode{"gspo", "gspo"},         Mode{"sapo", "sapo"},
        Mode{"gpg", "gpg"},       Mode{"clip_cov", "clip_cov"}, Mode{"kl_cov", "kl_cov"},
        Mode{"geo_mean", "gmpo"}, Mode{"dppo_tv", "dppo_tv"},   Mode{"dppo_kl", "dppo_kl"},
        Mode{"dro", "dro"},       Mode{"cispo", "cispo"}};
    const bool clips = mode != "sapo" && mode != "gpg" && mode != "kl_cov" && mode != "dro";
    if (clips) toml_.number("algo", "epsilon", low);
    if (clips) toml_.number("algo", "epsilon_high", high);
    const auto found = std::find_if(kModes.begin(), kModes.end(),
                                    [&](const Mode& one) { return mode == one.name; });
    if (found == kModes.end())
      leave_out(cat(kActor, "policy_loss.loss_mode"),
                "not known; the clipped loss stands in its place");
    else if (*found->loss != '\0')
      toml_.text("algo", "loss", found->loss);
    const double dual = tree_.number(cat(kActor, "clip_ratio_c")).value_or(3);
    if (mode == "vanilla") toml_.number("algo", "dual_clip", dual);
    const std::string aggregation = tree_.text(cat(kActor, "loss_agg_mode")).value_or("token-mean");
    if (mode != "gspo") toml_.text("algo", "loss_aggregation", aggregation);
    if (const auto coef = tree_.number(cat(kActor, "entropy_coeff")); coef && *coef != 0)
      toml_.number("algo", "entropy_coef", *coef);
    if (mode == "dro") {
      if (const auto beta = tree_.number(cat(kActor, "policy_loss.dro_beta")))
        toml_.number("algo", "dro_beta", *beta);
      else
        toml_.comment("algo", "dro_beta = a number above 0: it has no usual value");
    }
    if (mode == "clip_cov") {
      number("algo", "cov_ratio", cat(kActor, "policy_loss.clip_cov_ratio"), 2e-4);
      number("algo", "cov_low", cat(kActor, "policy_loss.clip_cov_lb"), 1);
      number("algo", "cov_high", cat(kActor, "policy_loss.clip_cov_ub"), 5);
    }
    if (mode == "kl_cov") {
      number("algo", "cov_ratio", cat(kActor, "policy_loss.kl_cov_ratio"), 2e-4);
      number("algo", "kl_cov_coef", cat(kActor, "policy_loss.ppo_kl_coef"), 0.1);
    }
    if (tree_.whole(cat(kActor, "ppo_epochs")).value_or(1) > 1)
      leave_out(cat(kActor, "ppo_epochs"), "each response is learned from once");
    const double mini = tree_.whole(cat(kActor, "ppo_mini_batch_size")).value_or(256);
    if (mini < prompts_) toml_.number("trainer", "samples_per_update", mini * group_);
  }

  void kl() {
    const bool in_loss = tree_.flag(cat(kActor, "use_kl_loss")).value_or(false);
    const bool in_reward = tree_.flag("algorithm.use_kl_in_reward").value_or(false);
    const auto estimator = [](const std::string& name) -> std::string {
      if (name == "kl" || name == "k1") return "k1";
      if (name == "mse" || name == "k2") return "k2";
      if (name == "low_var_kl" || name == "k3") return "k3";
      if (name == "abs") return "abs";
      return name;  // "k1+" and its like
    };
    if (in_loss && in_reward)
      leave_out("algorithm.use_kl_in_reward", "the KL is in the loss; one place at a time");
    if (in_loss) {
      number("algo", "beta", cat(kActor, "kl_loss_coef"), 0.001);
      const std::string chosen =
          estimator(tree_.text(cat(kActor, "kl_loss_type")).value_or("low_var_kl"));
      toml_.text("algo", "kl_estimator", chosen);
      if (chosen.starts_with("k3")) toml_.text("algo", "kl_clamp", "verl");
    } else if (in_reward) {
      number("algo", "beta", "algorithm.kl_ctrl.kl_coef", 0.001);
      toml_.text("algo", "kl_in", "reward");
      toml_.text("algo", "kl_estimator",
                 estimator(tree_.text("algorithm.kl_penalty").value_or("kl")));
      if (tree_.text("algorithm.kl_ctrl.type").value_or("fixed") == "adaptive") {
        number("algo", "kl_target", "algorithm.kl_ctrl.target_kl", 0.1);
        number("algo", "kl_horizon", "algorithm.kl_ctrl.horizon", 10000);
      }
    }
  }

  void rewards() {
    toml_.text(toml_.entry("[reward]"), "type", "accuracy");
    for (const std::string prefix : {"reward_model.", "reward.reward_kwargs."}) {
      const std::string buffer = cat(prefix, "overlong_buffer");
      const std::string other = cat(prefix, "overlong_buffer_cfg");
      for (const std::string& one : {buffer, other}) {
        if (!tree_.flag(one + ".enable").value_or(false)) continue;
        const std::string entry = toml_.entry("[reward]");
        toml_.text(entry, "type", "overlong");
        toml_.text(entry, "form", "verl");
        if (const auto size = tree_.whole(one + ".len", 0)) toml_.number(entry, "cache", *size);
        if (const auto factor = tree_.number(one + ".penalty_factor"))
          toml_.number(entry, "factor", *factor);
      }
    }
    toml_.comment("data",
                  "verify = the rule of correctness of your rows: math, last_integer, exact, ...");
  }

  void optimizer() {
    const std::string optim = cat(kActor, "optim.");
    number("trainer", "learning_rate", optim + "lr", 1e-6);
    number("trainer", "weight_decay", optim + "weight_decay", 0.01);
    const std::string schedule =
        tree_.text(optim + "lr_scheduler_type")
            .value_or(tree_.text(optim + "warmup_style").value_or("constant"));
    if (schedule == "constant" || schedule == "cosine" || schedule == "linear")
      toml_.text("trainer", "schedule", schedule);
    else
      leave_out(optim + "lr_scheduler_type", "trainer.schedule has constant, linear and cosine");
    if (const auto ratio = tree_.number(optim + "min_lr_ratio"); ratio && schedule == "cosine")
      toml_.number("trainer", "final_ratio", *ratio);
    if (const auto steps = tree_.whole(optim + "lr_warmup_steps", -1); steps && *steps > 0)
      toml_.number("trainer", "warmup_steps", *steps);
    else if (tree_.number(optim + "lr_warmup_steps_ratio").value_or(0) > 0)
      leave_out(optim + "lr_warmup_steps_ratio", "trainer.warmup_steps counts steps");
    if (const auto betas = tree_.numbers(optim + "betas"); tree_.has(optim + "betas")) {
      if (betas.size() != 2)
        fail(tree_.name(), ": ", optim, "betas: ", betas.size(), " numbers; two are wanted");
      toml_.numbers("trainer", "betas", betas);
    }
    number("trainer", "grad_clip", cat(kActor, "grad_clip"), 1);
    if (tree_.flag(cat(kActor, "use_dynamic_bsz")).value_or(false))
      if (const auto tokens = tree_.whole(cat(kActor, "ppo_max_token_len_per_gpu")))
        toml_.number("trainer", "max_tokens_per_microbatch", *tokens);
    if (const auto again = tree_.flag(cat(kModel, "enable_gradient_checkpointing")))
      toml_.flag("trainer", "activation_checkpointing", *again);
    toml_.text("trainer", "precision", "bf16");
    const double rank = tree_.whole(cat(kModel, "lora_rank"), 0).value_or(0);
    if (rank > 0) {
      toml_.number("trainer.lora", "rank", rank);
      number("trainer.lora", "alpha", cat(kModel, "lora_alpha"), 16);
    }
  }

  double prompts_ = 0, group_ = 0;
};

}  // namespace

PeerConfig convert_verl(PeerTree& tree, const PeerConfigOptions& options) {
  return FromVerl(tree, options).convert();
}

}  // namespace vernier
