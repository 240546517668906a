// Configurations of TRL and verl: every key of theirs is known, and what comes out is Vernier's.
#include "tools/peer_config.h"

#include <doctest/doctest.h>

#include "core/base/config.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "tests/testing.h"
#include "tools/peer_tree.h"

namespace vernier {
namespace {

using testing::usage_error;

PeerConfig converted(const std::string& text, const std::vector<std::string>& overrides = {},
                     const PeerConfigOptions& options = {}) {
  return convert_peer_config(text, "test.yaml", overrides, options);
}

std::string case_file(const std::string& name) {
  return read_file(fs::path(VERNIER_TEST_CASES) / "peers" / name);
}

bool has(const PeerConfig& config, const std::string& line) {
  return ("\n" + config.toml).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("peer_config: every key of TRL is carried over, or said why not") {
  const Json trl = parse_json(case_file("trl.json"), "trl.json");
  std::string text = "output_dir: x\n";
  for (const Json& key : trl["keys"])
    if (key != "output_dir") text += key.get<std::string>() + ":\n";  // null
  const PeerConfig found = converted(text);
  CHECK(found.from == "trl");
  CHECK(join(found.unknown) == "");
  CHECK(trl["keys"].size() > 150);
}

TEST_CASE("peer_config: every key of verl, with its defaults") {
  const PeerConfig found = converted(
      case_file("verl.yaml"), {"algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8",
                               "trainer.total_training_steps=100"});
  CHECK(found.from == "verl");
  CHECK(join(found.unknown) == "");
  CHECK(has(found, "num_generations = 8"));
  CHECK(has(found, "prompts_per_step = 1024"));
  CHECK(has(found, "samples_per_update = 2048"));
  CHECK(has(found, "max_completion_length = 512"));
  CHECK(has(found, "dual_clip = 3"));
  CHECK(has(found, "steps = 100"));
  CHECK(has(found, "train = \"~/data/rlhf/gsm8k/train.parquet\""));
  CHECK(has(found, "answer_field = \"reward_model.ground_truth\""));
  CHECK(has(found, "activation_checkpointing = true"));
  CHECK(has(found, "weight_decay = 0.01"));
}

TEST_CASE("peer_config: TRL's defaults where they are not Vernier's, and its batches") {
  const PeerConfig found = converted(
      "output_dir: runs/a\nmax_steps: 400\n"
      "per_device_train_batch_size: 8\n"
      "gradient_accumulation_steps: 4\nsteps_per_generation: 8\n",
      {}, {.ranks = 2});
  CHECK(has(found, "dir = \"runs/a\""));
  CHECK(has(found, "seed = 42"));
  CHECK(has(found, "num_generations = 8"));
  CHECK(has(found, "prompts_per_step = 16"));    // 8 * 8 * 2 / 8
  CHECK(has(found, "samples_per_update = 64"));  // 8 * 4 * 2
  CHECK(has(found, "steps = 200"));              // 400 updates, two a generation
  CHECK(has(found, "max_completion_length = 512"));
  CHECK(has(found, "schedule = \"linear\""));
  CHECK(has(found, "loss_aggregation = \"token-mean\""));  // TRL's default is dapo's
  CHECK(usage_error([] {
          converted("output_dir: x\nper_device_train_batch_size: 3\n");
        }).find("no whole number of groups") != std::string::npos);
  const PeerConfig epochs = converted("output_dir: x\nnum_train_epochs: 2\n", {}, {.rows = 100});
  CHECK(has(epochs, "steps = 200"));  // one prompt a step
  CHECK(converted("output_dir: x\n").toml.find("# steps = 3 epochs * rows / 1") !=
        std::string::npos);
}

TEST_CASE("peer_config: losses and rewards of TRL") {
  const auto loss = [](const std::string& more) { return converted("output_dir: x\n" + more); };
  CHECK(has(loss("loss_type: grpo"), "loss_aggregation = \"seq-mean-token-mean\""));
  CHECK(has(loss("loss_type: dr_grpo"), "type = \"dr_grpo\""));
  CHECK(has(loss("importance_sampling_level: sequence"), "type = \"gspo\""));
  CHECK(has(loss("loss_type: vespo"), "loss = \"vespo\""));
  CHECK(has(loss("scale_rewards: false"), "scale_rewards = \"none\""));
  CHECK(has(loss("epsilon: 0.1\nepsilon_high: 0.3"), "epsilon_high = 0.3"));
  CHECK(has(loss("mask_truncated_completions: true"), "[[transform]]"));
  CHECK(usage_error([&] { loss("loss_type: other"); }).find("loss_type: 'other' is not known") !=
        std::string::npos);
  const PeerConfig rewards = loss(
      "reward_funcs: [accuracy_reward, think_format_reward, my.module.f]\n"
      "reward_weights: [1.0, 0.2, 0.5]\n");
  CHECK(has(rewards, "type = \"accuracy\"\nweight = 1"));
  CHECK(has(rewards, "type = \"tags\"\nweight = 0.2"));
  REQUIRE(rewards.left_out.size() == 1);
  CHECK(rewards.left_out[0].find("my.module.f: a reward of your own") != std::string::npos);
}

TEST_CASE("peer_config: estimators, losses and KL of verl") {
  const auto verl = [](const std::vector<std::string>& overrides) {
    return converted("", overrides, {.from = "verl"});
  };
  CHECK(has(verl({"algorithm.adv_estimator=rloo"}), "advantage = \"rloo\""));
  CHECK(has(verl({"algorithm.adv_estimator=gae"}), "type = \"grpo\""));
  CHECK(verl({"algorithm.adv_estimator=gae"}).left_out[0].find("needs a critic") !=
        std::string::npos);
  CHECK(has(verl({"actor_rollout_ref.actor.policy_loss.loss_mode=geo_mean"}), "loss = \"gmpo\""));
  const PeerConfig kl = verl(
      {"actor_rollout_ref.actor.use_kl_loss=True", "actor_rollout_ref.actor.kl_loss_coef=0.01"});
  CHECK(has(kl, "beta = 0.01\nkl_estimator = \"k3\"\nkl_clamp = \"verl\""));
  const PeerConfig dapo =
      verl({"algorithm.filter_groups.enable=True", "algorithm.filter_groups.metric=acc",
            "+reward_model.overlong_buffer.enable=True", "+reward_model.overlong_buffer.len=4096"});
  CHECK(has(dapo, "rule = \"spread\""));
  CHECK(has(dapo, "type = \"overlong\"\nform = \"verl\"\ncache = 4096"));
  CHECK(has(verl({"actor_rollout_ref.actor.clip_ratio=0.2",
                  "actor_rollout_ref.actor.clip_ratio_high=0.28"}),
            "epsilon = 0.2\nepsilon_high = 0.28"));
}

TEST_CASE("peer_config: what is not known is listed, what is wrong is an error") {
  CHECK(converted("output_dir: x\nfoo_bar: 3\n").unknown == std::vector<std::string>{"foo_bar"});
  CHECK(converted("trainer: {foo: 1}\nalgorith: {x: 1}\n").unknown ==
        std::vector<std::string>{"algorith.x"});
  CHECK(usage_error([] { converted("a: [1\n"); }).find("test.yaml:2:1") != std::string::npos);
  CHECK(usage_error([] { converted("- 1\n"); }).find("is not a mapping") != std::string::npos);
  CHECK(usage_error([] { converted("a: 1\n"); }).find("say which with --from") !=
        std::string::npos);
  CHECK(usage_error([] {
          converted("output_dir: x\nlearning_rate: fast\n");
        }).find("test.yaml: learning_rate: 'fast' is not a number") != std::string::npos);
  CHECK(usage_error([] { converted("output_dir: x\nbf16: 3\n"); }).find("neither true nor false") !=
        std::string::npos);
  CHECK(usage_error([] { converted("output_dir: x\n", {"nothing"}); }).find("is not key=value") !=
        std::string::npos);
  CHECK(toml_text("a\"b\\c\n\x01") == "\"a\\\"b\\\\c\\n\\u0001\"");
}

std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {},
                    const PeerConfigOptions& options = {}) {
  return usage_error([&] { converted(text, overrides, options); });
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("peer_config: YAML that is no configuration is an error with its place") {
  const std::string endless = refusal("output_dir: &a {b: *a}\n");
  CHECK(endless.starts_with("test.yaml:1:"));
  CHECK(says(endless, "output_dir.b.b"));
  CHECK(says(endless, "is more than 64 levels deep"));
  std::string doubled = "output_dir: x\nk0: &k0 {a: 1, b: 2}\n";
  for (int i = 1; i < 30; ++i)
    doubled += cat("k", i, ": &k", i, " {a: *k", i - 1, ", b: *k", i - 1, "}\n");
  CHECK(says(refusal(doubled), "is one key more than 100000"));
  CHECK_NOTHROW(converted("output_dir: x\nbase: &b {y: 1}\none: *b\ntwo: *b\n"));

  const std::string list = refusal("output_dir: x\n? [a, b]\n: 3\n");
  CHECK(list.starts_with("test.yaml:2:"));
  CHECK(says(list, "a key is a list; a text is wanted"));
  CHECK(says(refusal("output_dir: x\ntrainer: {~: 3}\n"), "trainer: a key is null"));
  CHECK(says(refusal("output_dir: x\n\"\": 3\n"), "a key is empty"));
  CHECK(says(refusal("output_dir: a\xff\n"), "output_dir = a\xEF\xBF\xBD is not UTF-8"));

  CHECK(refusal("output_dir: x\nseed: 1\noutput_dir: y\n") ==
        "test.yaml:3:1: output_dir is given twice, first in line 1");
  CHECK(says(refusal("trainer:\n  foo: {a: 1}\n  foo: {b: 1}\n"),
             "test.yaml:3:3: trainer.foo is given twice, first in line 2"));
  CHECK(refusal("a: {b: 1}\na.b: 2\n") == "test.yaml:2:1: a.b is given twice, first in line 1");
  CHECK(has(converted("output_dir: x\nseed: 1\n", {"seed=2", "seed=3"}), "seed = 3"));

  for (const std::string one : {"++=3", "=3", "+ =3"})
    CHECK(says(refusal("output_dir: x\n", {one}), cat("'", one, "' has no key before its '='")));
  CHECK(has(converted("output_dir: x\n", {"++seed=3"}), "seed = 3"));
}

TEST_CASE("peer_config: a value of several lines is one line") {
  const PeerConfig found = converted(
      "output_dir: \"a\\nb\\x7f\"\ndataset_name: \"c\\nd\"\n"
      "chat_template: |\n  {% if x %}\n  y\n\"e\\nf\": 1\n");
  CHECK(found.left_out ==
        std::vector<std::string>{"chat_template = {% if x %}\\ny\\n: model.chat_format"});
  CHECK(found.unknown == std::vector<std::string>{"e\\nf"});
  CHECK(has(found, "dir = \"a\\nb\\u007f\""));
  CHECK(has(found, "# train was c\\nd: its rows as a file are wanted"));
  CHECK(has(found, "train = \"c\\nd.jsonl\""));
  CHECK_NOTHROW(ConfigFile::parse(found.toml, "converted.toml"));
  const PeerConfig longer = converted("output_dir: x\nchat_template: " + std::string(500, 'y'));
  CHECK(longer.left_out == std::vector<std::string>{"chat_template = " + std::string(120, 'y') +
                                                    "...: model.chat_format"});
  CHECK(in_short("a\xC3\xA4\n") == "a\xC3\xA4\\n");
  CHECK(in_short(std::string(119, 'a') + "\xC3\xA4") == std::string(119, 'a') + "...");
}

TEST_CASE("peer_config: lists of numbers") {
  const auto betas = [](const std::string& list) {
    return std::vector{"actor_rollout_ref.actor.optim.betas=" + list};
  };
  CHECK(has(converted("", betas("[0.9, .95]")), "betas = [0.9, 0.95]"));
  CHECK(says(refusal("", betas("[a, b]")), "actor.optim.betas: 'a' is not a number"));
  CHECK(says(refusal("", betas("[0.9]")), "actor.optim.betas: 1 numbers; two are wanted"));
  const std::string funcs = "output_dir: x\nreward_funcs: [accuracy_reward, think_format_reward]\n";
  CHECK(says(refusal(funcs + "reward_weights: [1, zzz]\n"),
             "test.yaml: reward_weights: 'zzz' is not a number"));
  CHECK(says(refusal(funcs + "reward_weights: [1]\n"), "reward_weights: 1 numbers for 2 rewards"));
  const PeerConfig model =
      converted(funcs + "reward_model_name_or_path: m\nreward_weights: [1, 2, 3]\n");
  CHECK(has(model, "type = \"accuracy\"\nweight = 2"));  // the model's weight is the first
  CHECK(converted("output_dir: x\nreward_weights: [1, 2]\n").left_out ==
        std::vector<std::string>{"reward_weights = [1, 2]: reward_funcs does not say of what"});
}

TEST_CASE("peer_config: TRL's counts of updates become counts of steps") {
  const std::string counts =
      "output_dir: x\nmax_steps: 401\neval_strategy: steps\neval_steps: 51\nsave_steps: 100\n"
      "warmup_steps: 20\n";
  const std::string halves = "gradient_accumulation_steps: 4\nsteps_per_generation: 8\n";
  const PeerConfig found = converted(counts + halves);
  CHECK(has(found, "# max_steps = 401 updates, 2 to a step here, rounded up\nsteps = 201"));
  CHECK(has(found, "# eval_steps = 51 updates, 2 to a step here, rounded up\neval_every = 26"));
  CHECK(has(found, "# save_steps = 100 updates, 2 to a step here\nsave_every = 50"));
  CHECK(has(found, "# warmup_steps = 20 updates, 2 to a step here\nwarmup_steps = 10"));
  CHECK(has(converted("output_dir: x\n" + halves), "save_every = 250"));  // TRL's default is 500
  const PeerConfig same = converted(counts);
  CHECK(has(same, "steps = 401\neval_every = 51\nsave_every = 100"));
  CHECK(has(same, "warmup_steps = 20"));
  CHECK(!says(same.toml, "updates"));
  // Of each response, TRL learns twice, in twice the updates.
  CHECK(has(converted(counts + halves + "num_iterations: 2\n"), "steps = 101"));
  const PeerConfig several =
      converted(counts + "gradient_accumulation_steps: 4\nsteps_per_generation: 2\n");
  CHECK(has(several, "# max_steps = 401 updates, 0.5 to a step here\nsteps = 802"));
  CHECK(
      has(several, "# TRL updates on 32 responses, of several generations; here on those of one"));
  CHECK(
      has(converted("output_dir: x\nsave_steps: 0\nwarmup_steps: 0\n" + halves), "save_every = 0"));
}

TEST_CASE("peer_config: TRL's shares and epochs become counts of steps where these are known") {
  const std::string shares =
      "output_dir: x\neval_strategy: steps\neval_steps: 0.1\nsave_steps: 0.25\n"
      "warmup_steps: 0.07\n";
  const PeerConfig found = converted(shares + "max_steps: 100\n");
  CHECK(has(found, "# eval_steps = 0.1 of all steps\neval_every = 10"));
  CHECK(has(found, "# save_steps = 0.25 of all steps\nsave_every = 25"));
  CHECK(has(found, "# warmup_steps = 0.07 of all steps\nwarmup_steps = 7"));
  CHECK(has(converted(shares, {}, {.rows = 105}),
            "# eval_steps = 0.1 of all steps, rounded up\neval_every = 32"));  // 3 * 105 / 10
  const PeerConfig unknown = converted(shares);
  REQUIRE(unknown.left_out.size() == 3);
  CHECK(unknown.left_out[0] ==
        "eval_steps = 0.1: a share of all steps, and how many is not known; give --rows, or write "
        "run.eval_every");
  CHECK(says(unknown.left_out[1], "save_steps = 0.25: "));
  CHECK(says(unknown.left_out[2], "write trainer.warmup_steps"));
  for (const std::string key : {"eval_every", "save_every", "warmup_steps"})
    CHECK(!says(unknown.toml, key));
  CHECK(has(converted("output_dir: x\nmax_steps: 100\nwarmup_ratio: 0.1\n"), "warmup_steps = 10"));
  CHECK(says(refusal("output_dir: x\nwarmup_ratio: 3\n"), "warmup_ratio: 3 is no share"));

  const std::string epochs = "output_dir: x\neval_strategy: epoch\nsave_strategy: epoch\n";
  const PeerConfig rows = converted(epochs, {}, {.rows = 100});
  CHECK(has(rows, "# eval_strategy = epoch, of 100 rows\neval_every = 100"));
  CHECK(has(rows, "# save_strategy = epoch, of 100 rows\nsave_every = 100"));
  const PeerConfig no_rows = converted(epochs);
  REQUIRE(no_rows.left_out.size() == 2);
  CHECK(says(no_rows.left_out[0], "eval_strategy = epoch: the steps of an epoch are not known"));
  CHECK(says(no_rows.left_out[1], "write run.save_every"));
  CHECK(!says(no_rows.toml, "_every"));
}

TEST_CASE("peer_config: when TRL evaluates and saves") {
  const auto trl = [](const std::string& more) { return converted("output_dir: x\n" + more); };
  CHECK(has(trl("eval_strategy: steps\n"), "eval_every = 10"));  // logging_steps
  CHECK(has(trl("eval_strategy: steps\nlogging_steps: 5\n"), "eval_every = 5"));
  CHECK(!says(trl("eval_strategy: no\n").toml, "eval_every"));
  CHECK(!says(trl("save_strategy: no\n").toml, "save_every"));
  CHECK(trl("eval_steps: 50\n").left_out ==
        std::vector<std::string>{"eval_steps = 50: eval_strategy is no"});
  CHECK(says(trl("save_strategy: best\n").left_out[0], "save_strategy = best: [guard]"));
  CHECK(says(refusal("output_dir: x\neval_strategy: daily\n"),
             "eval_strategy: 'daily' is none of no, steps, epoch"));
  CHECK(says(refusal("output_dir: x\nsave_steps: 2.5\n"),
             "save_steps: 2.5 is neither a whole number of at least 0 nor a share"));
  CHECK(has(trl("save_total_limit: 3\n"), "keep_checkpoints = 3"));
  CHECK(says(trl("save_total_limit: 0\n").left_out[0], "save_total_limit = 0: all stay"));
}

TEST_CASE("peer_config: a size that is none is an error") {
  for (const std::string value : {"0", "8.5", "-1"}) {
    for (const std::string key :
         {"per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation",
          "generation_batch_size", "num_generations", "max_completion_length", "num_iterations"})
      CHECK(refusal(cat("output_dir: x\n", key, ": ", value, "\n")) ==
            cat("test.yaml: ", key, ": ", value, " is not a whole number of at least 1"));
    for (const std::string key :
         {"data.train_batch_size", "actor_rollout_ref.rollout.n", "data.max_response_length",
          "trainer.total_training_steps", "actor_rollout_ref.actor.ppo_mini_batch_size"})
      CHECK(refusal("", {cat(key, "=", value)}, {.from = "verl", .rows = 100}) ==
            cat("test.yaml: ", key, ": ", value, " is not a whole number of at least 1"));
  }
  CHECK(says(refusal("output_dir: x\nnum_generations: 1e12\n"), "is more than 1073741824"));
  CHECK(says(refusal("output_dir: x\nnum_train_epochs: 0\n"),
             "num_train_epochs: 0 is not a number of epochs above 0"));
  CHECK_NOTHROW(converted("output_dir: x\nnum_train_epochs: 0\nmax_steps: 10\n"));
  CHECK(says(refusal("output_dir: x\ngeneration_batch_size: 64\nsteps_per_generation: 8\n"),
             "are both given"));
}

}  // namespace
}  // namespace vernier
