#include "trainer/run_config.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier {

void OptimizerConfig::bind(Binder& config) {
  config.number("learning_rate", learning_rate, 0.0, 10.0, "highest of the schedule");
  config.choice("schedule", schedule, {"constant", "linear", "cosine"},
                "of the learning rate after the warm-up");
  config.number("final_ratio", final_ratio, 0.0, 1.0,
                "of the learning rate, where a linear or cosine schedule ends");
  config.only_if("final_ratio", schedule != "constant", "schedule = \"constant\"");
  config.number("warmup_steps", warmup_steps, 0, 1 << 30, "steps of linear rise from 0");
  config.list("betas", betas, 0.0, 1.0, "of AdamW's two moments");
  config.number("eps", eps, 1e-16, 1.0, "of AdamW's denominator");
  config.number("weight_decay", weight_decay, 0.0, 10.0, "decoupled, on all that is trained");
  config.number("grad_clip", grad_clip, 0.0, 1e6, "largest global gradient norm; 0: no clipping");
  if (betas.size() != 2 || betas[0] >= 1 || betas[1] >= 1)
    config.error("betas", "expected two numbers below 1");
}

double OptimizerConfig::rate(int64_t step, int64_t steps) const {
  if (step < warmup_steps)
    return learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (schedule == "constant") return learning_rate;
  const double span = static_cast<double>(std::max<int64_t>(steps - warmup_steps, 1));
  const double share = std::min(static_cast<double>(step - warmup_steps) / span, 1.0);
  const double fall =
      schedule == "linear" ? 1.0 - share : 0.5 + 0.5 * std::cos(std::numbers::pi * share);
  return learning_rate * (final_ratio + (1.0 - final_ratio) * fall);
}

void SftConfig::bind(Binder& config) {
  optimizer.learning_rate = 3e-3;
  optimizer.schedule = "cosine";
  optimizer.final_ratio = 0.05;
  optimizer.warmup_steps = 100;
  optimizer.betas = {0.9, 0.98};
  optimizer.weight_decay = 0.01;
  config.number("steps", steps, 0, 1 << 30, "optimizer steps of the warm start; 0: none");
  config.number("batch_sequences", batch_sequences, 1, 1 << 20, "demonstrations a step");
  config.number("loss_divisor", loss_divisor, 1.0, 1e12,
                "token losses of a step are summed and divided by this constant");
  config.number("bucket_batches", bucket_batches, 1, 1 << 16,
                "batches whose demonstrations are sorted by length together");
  config.list("curriculum", curriculum, 0, 1 << 30,
              "[steps, hardest]: difficulty at most `hardest` for the first steps; empty: none");
  config.number("save_every", save_every, 0, 1 << 30, "steps between checkpoints; 0: none");
  config.number("rope_scale", rope_scale, 1, 1 << 20,
                "each demonstration's positions are divided by a whole number from 1 to this one, "
                "drawn evenly (E²-LLM)");
  config.number("rope_offset", rope_offset, 0, 1 << 30,
                "and begin at 0 to so many tokens, drawn evenly");
  optimizer.bind(config);
  if (!curriculum.empty() && curriculum.size() != 2)
    config.error("curriculum", "expected [steps, hardest]");
}

void RunSection::bind(Binder& config) {
  config.text("name", name, "of the run: its folder is runs/NAME where dir is not set");
  config.text("dir", dir, "folder of the run");
  config.number("seed", seed, 0, int64_t{1} << 53, "of every random number of the run");
  config.number("steps", steps, 0, 1 << 30, "RL steps");
  config.number("eval_every", eval_every, 0, 1 << 30, "steps between evaluations; 0: none");
  config.number("save_every", save_every, 0, 1 << 30,
                "steps between checkpoints; 0: only at the start and the end");
  config.number("keep_checkpoints", keep_checkpoints, 1, 1 << 20,
                "newest checkpoints that stay, besides the start and the end");
  config.number("threads", threads, 0, 4096,
                "CPU threads of a rank; 0: one a core, shared out among the ranks of a machine");
  config.flag(
      "deterministic", deterministic,
      "the same bits on 1, 2, 4 and 8 ranks: every update is computed in 8 parts, which are "
      "summed in one fixed order");
  config.choice(
      "device", device, {"cpu", "cuda"},
      "where the policy trains and draws; cuda: one GPU a rank, in a build of the cuda preset");
  if (deterministic && device == "cuda")
    config.error("deterministic",
                 "not with run.device = \"cuda\": its attention adds gradients in "
                 "no fixed order");
}

namespace {

void bind_model(Binder& config, RunConfig& out) {
  config.text("path", out.model_path, "Hugging Face folder or GGUF file");
  config.number("max_length", out.max_length, 0, 1 << 30,
                "longest sequence in tokens, prompt and response; chooses longrope's factors; 0: "
                "what the model was made for");
  out.reach.bind(config);
  std::vector<std::string> formats = {"auto"};
  formats.insert(formats.end(), chat_formats().begin(), chat_formats().end());
  config.choice("chat_format", out.chat_format.name, formats,
                "how a prompt becomes text; auto: as the model's own chat template");
  config.text(
      "chat_date", out.chat_format.date,
      "day, YYYY-MM-DD, that smollm3, llama3.1 and llama3.2 write into prompts; empty: none");
  if (const auto problem = chat_date_problem(out.chat_format.date); !problem.empty())
    config.error("chat_date", problem);
  NewModel fresh;
  const bool given = config.table(
      "new",
      [&](Binder& table) {
        fresh.bind(table);
        if (fresh.characters.empty() || fresh.end_token.empty()) return;
        try {
          Tokenizer::from_characters(fresh.characters, fresh.end_token);
        } catch (const UsageError& problem) {
          table.error("characters", problem.what());
        }
      },
      /*optional=*/true);
  if (given) {
    out.new_model = fresh;
    out.new_model->spec.reach = out.reach;
  }
  config.only_if("max_length", !given, "[model.new], which has max_position_embeddings");
  if (given && !out.model_path.empty())
    config.error("path", "is set beside [model.new]; choose one");
  if (!given && out.model_path.empty() && out.needs_model)
    config.error("path", "neither model.path nor [model.new] is given");
}

void bind_trainer(Binder& config, RunConfig& out) {
  out.optimizer.bind(config);
  std::string optimizer = "adamw";
  config.choice("optimizer", optimizer, {"adamw", "adamw_8bit"},
                "of the warm start too; adamw_8bit: moments of a byte each, by blocks of 256 "
                "(arXiv:2110.02861)");
  out.moments_in_bytes = optimizer == "adamw_8bit";
  config.choice(
      "shard", out.shard, {"none", "optimizer", "full"},
      "what ranks share out among them: nothing but the work; the optimizer's moments and "
      "its step too (ZeRO-1, arXiv:1910.02054); weights and gradients as well, which come together "
      "a layer at a time (ZeRO-3). Ranks that draw and train keep weights for drawing beside it");
  if (out.moments_in_bytes && out.run.device == "cuda")
    config.error("optimizer",
                 "\"adamw_8bit\" is not built for run.device = \"cuda\"; use \"adamw\"");
  config.number("samples_per_update", out.samples_per_update, 0, 1 << 30,
                "responses of one optimizer step, whole groups; 0: all of the step");
  config.number("max_tokens_per_microbatch", out.max_tokens_per_microbatch, 1, 1 << 30,
                "prompt and response tokens of one forward and backward pass");
  config.choice("old_logprobs", out.old_logprobs, {"recompute", "rollout"},
                "whose log-probabilities the ratio of a loss starts from: the trainer's at the "
                "start of the step, or those recorded while sampling, which saves a pass where a "
                "step has several updates");
  if (out.algorithm != nullptr && out.old_logprobs == "rollout")
    for (const std::string& key : out.algorithm->mismatch_keys())
      config.error("old_logprobs", cat("\"rollout\" leaves no gap for algo.", key,
                                       " to act on; use \"recompute\""));
  std::string precision = "fp32";
  config.choice("precision", precision, {"fp32", "bf16"},
                "what the products of forward and backward passes multiply, sums in fp32, of the "
                "policy (warm start included) and of its reference; weights, gradients and "
                "optimizer states are fp32 either way");
  if (precision == "bf16") out.training.precision = kernels::Precision::bf16;
  config.flag("activation_checkpointing", out.training.recompute,
              "a layer keeps its input alone and is computed again in the backward pass: less "
              "memory, the same numbers");
  LoraConfig lora;
  const bool given = config.table(
      "lora", [&](Binder& table) { lora.bind(table); },
      /*optional=*/true);
  if (given && lora.rank > 0) out.lora = lora;
  if (out.lora && out.run.device == "cuda")
    config.error("lora", "is not built for run.device = \"cuda\"; train in full there");
  if (out.lora && out.new_model)
    config.error("lora",
                 "[model.new] has random weights, which adapters cannot make a model of; "
                 "train it in full, or set model.path");
  if (out.lora && out.shard == "full")
    config.error("shard",
                 "\"full\" cuts the weights that are trained, and adapters lie on whole ones; use "
                 "\"optimizer\"");
  const int64_t n = out.rollout.num_generations;
  if (out.samples_per_update % n != 0)
    config.error("samples_per_update", cat(out.samples_per_update, " is not a multiple of ",
                                           "rollout.num_generations = ", n));
}

void bind_log(Binder& config, RunConfig& out) {
  config.flag("tensorboard", out.log.tensorboard,
              "also write event files for TensorBoard: metrics, lengths, samples of evaluations");
  config.choice("metric_names", out.log.metric_names, {"trl", "verl"},
                "whose names the metrics have in TensorBoard; metrics.jsonl has TRL's");
  config.only_if("metric_names", out.log.tensorboard, "tensorboard = false");
  config.table("rollouts", [&](Binder& table) {
    table.number("every", out.log.rollouts_every, 0, 1 << 30,
                 "steps between stored rollouts; 0: none");
    table.number("keep_steps", out.log.rollouts_keep, 0, 1 << 30, "newest files that stay; 0: all");
    table.flag("token_fields", out.log.token_fields, "store token ids and log-probabilities too");
  });
}

// An algorithm that looks at the verdict alone would silently ignore a shaped reward.
void check_rewards(Binder& root, const RunConfig& config) {
  if (config.algorithm == nullptr) return;
  if (config.run.steps > 0 && !config.chain.has_rewards())
    root.error("reward", "no [[reward]] is given; there is nothing to learn from");
  if (config.needs_model && config.run.steps > 0 && config.algorithm->uses_reward() &&
      !config.algorithm->keeps_reward())
    for (const std::string& name : config.chain.advantages())
      root.error("algo", cat("advantage: the values of reward.", name,
                             " are advantages already, which this estimator would change; set "
                             "algo.advantage = \"naive\", or reward.",
                             name, ".weight = 0 to only log them, without its sampling plan"));
  if (config.algorithm->uses_reward()) return;
  for (const std::string& name : config.chain.shaping_rewards())
    root.error("reward", cat("algo.type = \"", config.algorithm_name,
                             "\" looks at the verdict alone, so reward.", name,
                             " has no effect; set its weight to 0 to only log it"));
  for (const std::string& name : config.chain.reward_transforms())
    root.error("transform", cat("algo.type = \"", config.algorithm_name,
                                "\" looks at the verdict alone, so transform.", name,
                                " has no effect; leave it out"));
}

// What the rewards' sampling plan cannot be drawn with.
void check_plan(Binder& root, const RunConfig& config) {
  if (!config.needs_model || config.run.steps == 0) return;
  const SamplingPlan plan = config.chain.plan();
  RolloutConfig least = config.rollout;  // under the smallest limit of a step
  for (const int64_t limit : least.length_limits)
    least.max_completion_length = std::min(least.max_completion_length, limit);
  if (const auto problem = plan_problem(plan, least); !problem.empty())
    root.error("rollout", problem);
  const int64_t size = plan.group_size(config.rollout.num_generations);
  if (config.samples_per_update % size != 0)
    root.error("trainer", cat("samples_per_update: ", config.samples_per_update,
                              " is not a multiple of the ", size, " responses of a group"));
  if (config.chain.spans_step() && config.algorithm != nullptr && config.algorithm->needs_greedy())
    root.error("algo",
               "advantage: \"remax\" compares with a greedy response, and a reward has its "
               "value only when the step is whole");
  if (config.chain.spans_step() && config.filter.rule != "all" && config.filter.metric == "reward")
    root.error("rollout",
               "filter.metric: \"reward\" is looked at before the step is whole, which a "
               "reward needs; use \"accuracy\"");
  const FilterConfig& filter = config.filter;
  if (config.max_staleness > 0 && filter.gen_batch_prompts > 0 && filter.max_num_gen_batches > 0 &&
      filter.gen_batch_prompts * filter.max_num_gen_batches < config.rollout.prompts_per_step)
    root.error("rollout",
               cat("max_staleness: a step may end with ",
                   filter.gen_batch_prompts * filter.max_num_gen_batches,
                   " prompts (filter.gen_batch_prompts, max_num_gen_batches), fewer than "
                   "prompts_per_step, and what is drawn ahead would be older; allow more"));
  if (config.max_staleness > 0 &&
      (plan.forced_share > 0 || plan.branches != SamplingPlan::Branches::none))
    root.error("rollout",
               "max_staleness: the rewards' sampling plan draws responses that begin with a given "
               "text or go on from others, which is not done ahead of a step; use 0");
  if (plan.forced_share > 0 && config.old_logprobs == "rollout")
    root.error("trainer",
               "old_logprobs: \"rollout\" cannot tell the plan's probabilities from the "
               "policy's, and the rewards force beginnings; use \"recompute\"");
  if (plan.reference_generations > 0 && config.shard == "full")
    root.error("trainer",
               "shard: responses of the start policy, which the rewards ask for, are drawn with "
               "whole weights; use \"optimizer\", or give the rows their columns");
  if (plan.reference_generations > 0 && config.lora)
    root.error("trainer",
               "lora: responses of the start policy, which the rewards ask for, are not "
               "drawn with adapters; train in full, or give the rows their columns");
}

// The engine would name the same at its first draw, which a warm start may come before. Its cache
// stays where it is while the policy trains, so it may not have all that is left of the memory.
void check_on_device(Binder& config, const RolloutConfig& rollout) {
  for (const KeyProblem& one : device_draw_problems(rollout)) config.error(one.key, one.text);
  if (rollout.kv_cache_gb == 0)
    config.error("kv_cache_gb", "run.device = \"cuda\" needs a size, beside what training takes");
}

// What is not drawn by workers.
void check_workers(Binder& config, const RunConfig& run) {
  if (!run.cluster.workers.on()) return;
  const auto refuse = [&](const char* why) { config.error("workers", cat("listen: ", why)); };
  if (run.rollout_ranks > 0)
    refuse("workers join ranks that sample themselves: not with rollout.mode = \"disaggregated\"");
  if (run.run.device == "cuda")
    refuse("workers draw on CPUs so far: not with run.device = \"cuda\"");
  if (run.lora) refuse("workers draw with a whole model so far: not with [trainer.lora]");
  const SamplingPlan plan = run.chain.plan();
  if (plan.forced_share > 0 || plan.branches != SamplingPlan::Branches::none)
    refuse(
        "the rewards' sampling plan draws responses that begin with a given text or go on from "
        "others, which workers do not");
}

// What ranks that draw as one do not.
void check_parts(Binder& root, const RunConfig& run) {
  if (run.tensor_parallel_size == 1) return;
  const auto refuse = [&](const char* why) {
    root.error("rollout", cat("tensor_parallel_size: ", why));
  };
  if (run.run.deterministic)
    refuse("sums over parts are not those of a whole model: not with run.deterministic = true");
  if (run.lora) refuse("adapters are drawn with on whole models so far: not with [trainer.lora]");
  if (run.algorithm != nullptr && run.algorithm->credit_needs().any())
    refuse(
        "the advantages of this algorithm need a pass over the model where a response was drawn, "
        "which a part does not make");
  if (run.chain.plan().reference_generations > 0)
    refuse(
        "responses of the start policy, which the rewards ask for, are drawn with whole models so "
        "far; give the rows their columns");
}

// What a run would otherwise ask for only after its warm start.
void check_sources(Binder& root, const RunConfig& config) {
  if (!config.needs_model) return;
  const DataConfig& data = config.data;
  if (config.sft.steps > 0 && !data.has_demonstrations())
    root.error("sft",
               cat("steps: a warm start needs a data.task with demonstrations; data.task is \"",
                   data.task, "\""));
  if (data.length_request.learn_token && config.sft.steps == 0)
    root.error("data",
               "length_request.learn_token: has no effect without a warm start; set sft.steps, or "
               "leave it out");
  if (const auto& early = config.sft.curriculum; early.size() == 2 && data.has_demonstrations())
    if (const Tier all = data.demonstrated(); early[1] < all.shortest || early[1] > all.longest)
      root.error("sft",
                 cat("curriculum: hardest = ", early[1], " is outside ", all.shortest, " to ",
                     all.longest, ", the difficulties of data.task = \"", data.task, "\""));
  const bool drawn_ahead = config.max_staleness > 0 || config.cluster.workers.on();
  if (data.curriculum.mode != "none" && drawn_ahead)
    root.error("data",
               "curriculum: needs steps that draw their own prompts: rollout.max_staleness = 0 and "
               "no cluster.workers");
  if (config.run.steps > 0 && !data.has_training())
    root.error("data", "neither train nor task is set; there is nothing to train on");
  if (config.run.eval_every > 0 && !data.has_evaluation())
    root.error(
        "run",
        "eval_every: neither data.eval nor data.task is set; there is nothing to evaluate on");
}

void bind_rollout(Binder& b, RunConfig& config) {
  config.rollout.bind(b);
  std::string mode = "colocated";
  b.choice("mode", mode, {"colocated", "disaggregated"},
           "colocated: every rank samples and trains; disaggregated: some only sample");
  b.number("ranks", config.rollout_ranks, 0, 1 << 20,
           "disaggregated: the last so many ranks sample, the others train");
  const bool apart = mode == "disaggregated";
  b.only_if("ranks", apart, "mode = \"colocated\"");
  if (apart && config.rollout_ranks == 0)
    b.error("ranks", "mode = \"disaggregated\" needs the number of ranks that only sample");
  b.number("tensor_parallel_size", config.tensor_parallel_size, 1, 64,
           "disaggregated: so many of the ranks that sample compute the model together, each "
           "with a part of every layer");
  b.only_if("tensor_parallel_size", apart, "mode = \"colocated\"");
  if (config.rollout_ranks % config.tensor_parallel_size != 0)
    b.error("tensor_parallel_size",
            cat(config.rollout_ranks, " ranks sample (ranks), which is not a multiple of ",
                config.tensor_parallel_size));
  b.number("max_staleness", config.max_staleness, 0, 64,
           "steps that the weights a token is drawn with may be behind those it is trained into: "
           "responses for later steps are begun early, and go on under new weights; 0: none is");
  if (config.max_staleness > 0 && config.run.deterministic)
    b.error("max_staleness",
            "not with run.deterministic = true: which weights draw a token is a matter of time");
  b.table("filter", [&](Binder& table) { config.filter.bind(table); });
  // Stored rollouts have sizes of their own: what the file does not say of them is not known.
  if (config.needs_model || b.has("num_generations"))
    config.scoring.num_generations = config.rollout.num_generations;
  if (config.needs_model || b.has("max_completion_length"))
    config.scoring.max_completion_length = config.rollout.max_completion_length;
  if (config.needs_model && config.run.steps > 0)
    config.scoring.think_end = config.rollout.think_end;
  if (config.run.device == "cuda") check_on_device(b, config.rollout);
  if (config.run.steps > 0 && config.rollout.sampling.temperature == 0)
    b.error("temperature", "0 draws the same response every time; there is nothing to learn from");
}

}  // namespace

void RunConfig::bind(Binder& root) {
  root.table("run", [&](Binder& b) { run.bind(b); });
  root.table("model", [&](Binder& b) { bind_model(b, *this); });
  root.table("data", [&](Binder& b) { data.bind(b); });
  root.table("sft", [&](Binder& b) { sft.bind(b); });
  root.table("rollout", [&](Binder& b) { bind_rollout(b, *this); });
  bind_scoring(root);
  root.table("algo", [&](Binder& b) {
    b.choice("type", algorithm_name, AlgorithmRegistry::names(), "the algorithm");
    algorithm = AlgorithmRegistry::all()
                    .at(algorithm_name)
                    .make(b, {scoring.num_generations, scoring.max_completion_length});
  });
  root.table("trainer", [&](Binder& b) { bind_trainer(b, *this); });
  root.table("guard", [&](Binder& b) { bind_guard(b); });
  root.table("eval", [&](Binder& b) {
    b.number("n", eval.n, 1, 4096, "responses a prompt");
    b.number("temperature", eval.temperature, 0.0, 100.0, "of an evaluation's sampling");
    if (b.list("budgets", eval.budgets, 1, int64_t{1} << 30,
               "tokens, ascending: what accuracy and length were with answers cut there")) {
      const auto& budgets = eval.budgets;
      if (std::ranges::adjacent_find(budgets, std::greater_equal<>()) != budgets.end())
        b.error("budgets", "are not ascending");
      else if (!budgets.empty() && budgets.back() > rollout.max_completion_length)
        b.error("budgets", cat(budgets.back(), " is above rollout.max_completion_length = ",
                               rollout.max_completion_length, ", which cuts already"));
    }
    if (const auto problem = temperature_problem(eval.temperature); !problem.empty())
      b.error("temperature", problem);
  });
  root.table("log", [&](Binder& b) { bind_log(b, *this); });
  root.table("cluster", [&](Binder& b) {
    cluster.bind(b);
    b.only_if("flight_recorder", run.device == "cuda", "run.device = \"cpu\"");
    check_workers(b, *this);
  });
  if (!rollout.record_logprobs.empty() && (log.rollouts_every == 0 || !log.token_fields))
    root.error("rollout",
               "record_logprobs: has no effect without log.rollouts.every and "
               "log.rollouts.token_fields = true; leave it out");
  check_rewards(root, *this);
  check_plan(root, *this);
  check_parts(root, *this);
  check_sources(root, *this);
}

void RunConfig::bind_scoring(Binder& root) {
  std::error_code unreachable;  // as in a folder that may not be looked into
  if (needs_model || new_model || fs::exists(model_path, unreachable))
    scoring.decode = [decode = decode](std::span<const int32_t> ids) {
      ensure(static_cast<bool>(*decode), "a tokenizer before scoring");
      return (*decode)(ids);
    };
  chain.bind(root, scoring);
}

bool RunConfig::needs_reference() const {
  return algorithm->reference_kl() > 0 || chain.plan().reference_generations > 0;
}

int64_t RunConfig::evaluations() const {
  return run.eval_every > 0 ? 1 + (run.steps + run.eval_every - 1) / run.eval_every : 0;
}

std::string RunConfig::guard_problem(int64_t prompts) const {
  const double loss = guard.max_accuracy_loss;
  if (loss < kLeastAccuracyLoss) return "";  // no guard, or a mistake of its own
  const int64_t fewest = fewest_prompts(loss, planned_bounds(evaluations()));
  if (prompts >= fewest) return "";
  return cat(loss, " cannot be told from no loss on ", prompts,
             " evaluation prompts, however alike their answers are; with ", evaluations(),
             " evaluations it takes at least ", fewest, " (data.eval_prompts)");
}

void RunConfig::bind_guard(Binder& config) {
  config.number("max_nonfinite_updates", max_nonfinite_updates, 0, 1 << 20,
                "updates in a row that may be skipped because a number was not finite");
  guard.bind(config);
  if (!guard.on() || !needs_model || algorithm == nullptr) return;
  if (run.eval_every == 0)
    return config.error("max_accuracy_loss", "needs evaluations; set run.eval_every");
  if (run.steps == 0)
    return config.error("max_accuracy_loss", "has no effect without RL steps; set run.steps");
  if (const auto problem = guard_problem(data.eval_prompts); !problem.empty())
    config.error("max_accuracy_loss", problem);
  std::vector<Knob> knobs = chain.knobs();
  if (const auto own = algorithm->pressure())
    knobs.push_back({.name = "algo." + own->key, .pressure = *own, .set = [this](double value) {
                       algorithm->set_pressure(value);
                     }});
  knob = choose_knob(config, guard, knobs);
  if (!knob) return;
  for (const Knob& one : knobs)
    if (one.name != knob->name) other_knobs.push_back(one.name);
  if (!knob->of_reward) return;
  if (knob->of_weight && !chain.pays_beside(knob->name))
    config.error("max_accuracy_loss",
                 cat(knob->name,
                     " is the weight of all that is paid: without it there is nothing "
                     "to learn from before the pressure begins"));
  const Deviation divides = algorithm->divides();
  if (divides == Deviation::reward || (divides == Deviation::parts && !knob->of_weight))
    config.error(
        "max_accuracy_loss",
        cat(knob->name, " would be turned in vain: algo.type = \"", algorithm_name, "\" divides ",
            divides == Deviation::reward ? "the reward" : "each reward",
            " by its deviation in the group, so in a group that is all right every "
            "strength gives the same advantages; use an advantage that does not "
            "(algo.scale_rewards = \"none\"), or algo.type = \"gdpo\" with length in a reward of "
            "its own"));
}

std::string RunConfig::folder(const ConfigFile& file, const std::string& given) const {
  if (!given.empty()) return given;
  if (!run.dir.empty()) return run.dir;
  if (!run.name.empty()) return "runs/" + run.name;
  fail(file.name(), ": run.dir: no folder is given; set it or run.name, or use --run DIR");
}

std::unique_ptr<RunConfig> RunConfig::load(ConfigFile& file) {
  auto config = std::make_unique<RunConfig>();
  file.bind([&](Binder& root) { config->bind(root); });
  return config;
}

}  // namespace vernier
