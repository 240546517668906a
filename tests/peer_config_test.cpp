// Configurations of TRL and verl: every key of theirs is known, and what comes out is Vernier's.
#include "tools/peer_config.h"

#include <doctest/doctest.h>

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
  CHECK(has(rewards, "type = \"accuracy\"\nweight = 1.0"));
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
  CHECK(has(dapo, "type = \"overlong\"\ncache = 4096"));
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

}  // namespace
}  // namespace vernier
