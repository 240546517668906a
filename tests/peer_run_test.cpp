// What convert-config writes is a configuration of a run, as it is.
#include <doctest/doctest.h>

#include "core/base/files.h"
#include "core/base/text.h"
#include "tests/testing.h"
#include "tools/peer_config.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

// Throws UsageError with what is wrong.
std::unique_ptr<RunConfig> bound(const PeerConfig& found) {
  auto config = std::make_unique<RunConfig>();
  ConfigFile file = ConfigFile::parse(found.toml, "converted.toml");
  file.bind([&](Binder& root) { config->bind(root); });
  return config;
}

TEST_CASE("peer_config: what comes of TRL and verl can be run") {
  const std::string trl = R"(
model_name_or_path: Qwen/Qwen2.5-1.5B
dataset_name: data/train.jsonl
output_dir: runs/trl
max_steps: 300
num_generations: 16
per_device_train_batch_size: 16
gradient_accumulation_steps: 8
temperature: 0.9
top_p: 0.95
beta: 0.04
epsilon_high: 0.28
bf16: true
gradient_checkpointing: true
lr_scheduler_type: cosine
warmup_steps: 10
reward_funcs: [accuracy_reward, get_soft_overlong_punishment]
mask_truncated_completions: true
use_peft: true
lora_r: 32
save_total_limit: 3
)";
  for (const std::string loss :
       {"", "loss_type: grpo\n", "loss_type: dr_grpo\n", "loss_type: cispo\n", "loss_type: sapo\n",
        "loss_type: luspo\n", "loss_type: vespo\n", "importance_sampling_level: sequence\n"}) {
    INFO(loss);
    const auto config = bound(convert_peer_config(trl + loss, "trl.yaml", {}, {}));
    CHECK(config->run.steps == 300);
    CHECK(config->rollout.num_generations == 16);
    CHECK(config->rollout.prompts_per_step == 8);
    CHECK(config->optimizer.warmup_steps == 10);
  }
  const std::string verl = read_file(fs::path(VERNIER_TEST_CASES) / "peers" / "verl.yaml");
  for (const std::string estimator : {"grpo", "rloo", "opo", "remax", "gpg", "grpo_passk",
                                      "reinforce_plus_plus", "reinforce_plus_plus_baseline"}) {
    INFO(estimator);
    const auto config = bound(
        convert_peer_config(verl, "verl.yaml",
                            {"algorithm.adv_estimator=" + estimator,
                             "actor_rollout_ref.rollout.n=8", "trainer.total_training_steps=100",
                             "trainer.test_freq=10", "actor_rollout_ref.actor.use_kl_loss=True"},
                            {}));
    CHECK(config->run.steps == 100);
    CHECK(config->rollout.num_generations == 8);
    CHECK(config->samples_per_update == 256 * 8);
  }
  for (const std::string mode : {"vanilla", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean",
                                 "dppo_tv", "dppo_kl", "dro", "cispo"}) {
    INFO(mode);
    CHECK_NOTHROW(bound(convert_peer_config(
        verl, "verl.yaml",
        {"algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8",
         "trainer.total_training_steps=100", "actor_rollout_ref.actor.policy_loss.dro_beta=0.1",
         "actor_rollout_ref.actor.policy_loss.loss_mode=" + mode},
        {})));
  }
}

TEST_CASE("peer_config: keys that have an effect with some methods alone") {
  const std::string verl = read_file(fs::path(VERNIER_TEST_CASES) / "peers" / "verl.yaml");
  const auto of_verl = [&](std::vector<std::string> more) {
    for (const char* one : {"actor_rollout_ref.rollout.n=8", "trainer.total_training_steps=100",
                            "actor_rollout_ref.actor.use_kl_loss=True"})
      more.emplace_back(one);
    return bound(convert_peer_config(verl, "verl.yaml", more, {}));
  };
  for (const std::string estimator :
       {"grpo", "rloo", "opo", "remax", "gpg", "gdpo", "grpo_passk", "reinforce_plus_plus",
        "reinforce_plus_plus_baseline", "rloo_vectorized"})
    CHECK_NOTHROW(of_verl(
        {"algorithm.adv_estimator=" + estimator, "algorithm.norm_adv_by_std_in_grpo=False"}));
  for (const std::string kl : {"kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3"})
    CHECK_NOTHROW(
        of_verl({"algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.kl_loss_type=" + kl}));
  CHECK_NOTHROW(
      of_verl({"algorithm.adv_estimator=grpo", "+reward_model.overlong_buffer.enable=True",
               "+reward_model.overlong_buffer.len=64",
               "+reward_model.overlong_buffer.penalty_factor=1.0"}));
  const std::string trl =
      "model_name_or_path: m\ndataset_name: data/train.jsonl\noutput_dir: runs/trl\nmax_steps: "
      "300\n"
      "num_generations: 8\nreward_funcs: [accuracy_reward]\ndelta: 2.0\n";
  for (const std::string more :
       {"loss_type: cispo\n", "loss_type: sapo\n", "loss_type: grpo\n", "loss_type: luspo\n",
        "loss_type: vespo\n", "importance_sampling_level: sequence\n",
        "multi_objective_aggregation: normalize_then_sum\n"})
    CHECK_NOTHROW(bound(convert_peer_config(trl + more, "trl.yaml", {}, {})));
}

TEST_CASE("peer_config: texts of several lines and counts of updates of TRL can be run") {
  const PeerConfig found = convert_peer_config(R"(
model_name_or_path: "a\nfolder"
dataset_name: "rows\nof two lines"
chat_template: |
  {% if x %}
  y
output_dir: runs/trl
max_steps: 300
num_generations: 16
per_device_train_batch_size: 16
gradient_accumulation_steps: 8
steps_per_generation: 16
save_steps: 0.1
warmup_steps: 10
reward_funcs: [accuracy_reward, think_format_reward]
reward_weights: [1, 0.5]
)",
                                               "trl.yaml", {}, {});
  const auto config = bound(found);
  CHECK(config->model_path == "a\nfolder");
  CHECK(config->run.steps == 150);
  CHECK(config->run.save_every == 15);
  CHECK(config->optimizer.warmup_steps == 5);
  CHECK(config->samples_per_update == 128);
}

}  // namespace
}  // namespace vernier
