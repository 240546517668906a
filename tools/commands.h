// One function for each command of `vernier`. The command line is parsed already.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/kernels/sample.h"

namespace vernier {

struct ModelOptions {
  std::string model;
  int64_t threads = 0;     // 0: one a core
  int64_t max_length = 0;  // tokens of the longest sequence; 0: what the model was made for
};

struct DrawOptions : ModelOptions {
  std::string data, task, out, chat_format = "auto", chat_date, think_start, think_end;
  std::string weights = "fp32";
  std::string verify, prompt_template, prompt_field, answer_field;  // "": as in [data]
  int64_t n = 1, max_completion_length = 0, seed = 1, limit = 0, max_running = 256;
  SamplingParams sampling;
  std::vector<std::string> logit_bias;  // ID=BIAS
  std::vector<std::string> stop, record_logprobs;
  std::vector<int64_t> stop_token_ids;
  // Unset: as in [rollout].
  std::optional<int64_t> thinking_budget, repetition_ngram, repetition_limit;
  std::optional<int64_t> draft_tokens, draft_ngram, draft_rows;
  std::optional<double> kv_cache_gb;
  bool greedy = false, raw = false, json = false;
  std::string device = "cpu";
};

struct EvalOptions : DrawOptions {
  std::string rollouts;  // stored responses in place of a model's
  std::vector<int64_t> budgets;
  int64_t answer_tokens = 0;         // of an answer behind thinking that a budget ends; 0: none
  std::vector<int64_t> ks;           // of choices among k; empty: powers of 2 up to n
  double bucket_tokens = 0;          // of the length-filtered vote; 0: by the spread of the lengths
  std::optional<std::string> after;  // text before what a reader sees; unset: think_end
  std::string length_table = "ruler";
  // Several data sets: the file that names them, the folder of their rows, an earlier result that
  // AES is against, and how the table is written.
  std::string suite, data_dir = ".", reference, format = "text";
  double aes_gain = 3, aes_loss = 10;
};

struct CompareOptions : DrawOptions {
  std::vector<std::string> sides;            // models, rollout rows or runs
  std::vector<std::string> drawing_options;  // that are given, but --data and --task
  std::string unit = "tokens", after;
  double aes_gain = 3, aes_loss = 10;
  bool gap = false;
};

struct ConvertConfigOptions {
  std::string file, from = "auto", out = "-";
  std::vector<std::string> overrides;
  int64_t ranks = 1, rows = 0;
};

struct PromptsOptions {
  std::vector<std::string> configs, overrides;
  std::string task;  // in place of a configuration
  std::string out = "-", shape = "vernier";
  int64_t count = 10, from = 0;
  bool eval = false, demonstrations = false;
};

struct EndpointOptions : ModelOptions {
  std::string host = "127.0.0.1", token_file, model_name, chat_format = "auto", chat_date;
  std::string weights = "fp32";
  int64_t port = 8000, max_running = 64, max_queue = 256, max_completion_length = 0;
  int64_t draft_tokens = 0, weight_version = 0;
  int64_t max_body_mb = 4, max_connections = 512;
  double kv_cache_gb = 0;
};

struct JoinOptions {
  std::string join, secret, interface;
  int64_t threads = 0;
};

struct ConvertOptions {
  std::string model, out, dtype;  // dtype "": that of most weights
  double shard_gb = 5;            // of a safetensors file, where there are several
};

struct PlanOptions {
  std::vector<std::string> configs, overrides;
  double memory_gb = 0;    // 0: that of the machine
  double mean_length = 0;  // of a response, tokens; 0: rollout.max_completion_length
  std::string cluster;     // "": one process on this machine
  std::string lengths;     // run whose recorded rollouts have the lengths
  double reward_s = 0;     // from the end of a group to its rewards
  bool json = false;
};

struct ScoreOptions {
  std::vector<std::string> configs, overrides;
  std::string rollouts, out;
  bool explain = false;
  std::string compare;  // a second configuration
  bool json = false;    // of the comparison
};

struct ServeOptions {
  std::vector<std::string> runs, hosts;
  std::string host = "127.0.0.1", token_file;
  int64_t port = 8080;
};

void convert_command(const ConvertOptions& options);
void tokenize_command(const std::string& model, bool decode, bool add_special);
/// `extract`: boxed or lenient.
void verify_command(const std::string& extract);
void logprobs_command(const ModelOptions& options, double temperature, const std::string& device);
void generate_command(const DrawOptions& options);
void eval_command(const EvalOptions& options);
void compare_command(const CompareOptions& options);
void endpoint_command(const EndpointOptions& options);
void serve_command(const ServeOptions& options);
/// Returns the exit code.
int worker_command(const JoinOptions& options);
void score_command(const ScoreOptions& options);
void convert_config_command(const ConvertConfigOptions& options);
void prompts_command(const PromptsOptions& options);
void plan_command(const PlanOptions& options);
/// Starts ranks with these arguments of the program where their speed is to be measured, or is one
/// of them; the exit code.
int plan_cluster_command(const PlanOptions& options, const std::vector<std::string>& arguments);
void reference_command(const std::string& topic, bool json);
void doctor_command(const std::optional<std::string>& model, bool json);

}  // namespace vernier
