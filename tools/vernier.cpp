// The program: parses the command line, runs a command, turns errors into exit codes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/comm/identity.h"
#include "core/comm/local_ranks.h"
#include "core/text/chat_format.h"
#include "rewards/outside/spawner.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/report.h"
#include "trainer/loop.h"
#include "trainer/replay.h"

namespace vernier {
namespace {

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kRequeue = kRequeueCode };

// What every command that reads a job's configuration takes.
constexpr int64_t kMostPrompts = int64_t{1} << 40;

CLI::Option* add_configuration(CLI::App* command, std::vector<std::string>& paths,
                               std::vector<std::string>& overrides) {
  CLI::Option* option = command->add_option(
      "config", paths, "TOML files; a later one replaces keys of those before it");
  option->required();
  command->add_option("--set", overrides, "section.key=value, over the files")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  return option;
}

// Options of all commands; they must live as long as the parser.
struct Options {
  TrainOptions train;
  int64_t nproc = 0;
  int code = kDone;
  ReplayOptions replay;
  PlanOptions plan;
  DrawOptions generate;
  EvalOptions eval;
  CompareOptions compare;
  ModelOptions logprobs;
  ConvertOptions convert;
  EndpointOptions endpoint;
  ServeOptions serve;
  JoinOptions worker;
  double logprobs_temperature = 1.0;
  std::string logprobs_device = "cpu";
  std::string tokenize_model;
  bool decode = false, add_special = false;
  std::string extract = "lenient";
  ConvertConfigOptions convert_config;
  PromptsOptions prompts;
  ScoreOptions score;
  ReportOptions report;
  std::string topic, doctor_model;
  bool reference_json = false, doctor_json = false;
};

// The command line without --nproc.
std::vector<std::string> rank_arguments(int argc, char** argv) {
  std::vector<std::string> out;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--nproc")
      ++i;
    else if (!word.starts_with("--nproc="))
      out.emplace_back(word);
  }
  return out;
}

void add_train(CLI::App& app, Options& all, int argc, char** argv) {
  TrainOptions& options = all.train;
  CLI::App* command = app.add_subcommand("train", "run a job: optional warm start, then RL");
  add_configuration(command, options.config_paths, options.overrides);
  command->add_option("--run", options.run_dir, "folder of the run, in place of run.dir");
  command->add_option("--resume", options.resume, "auto, never, or the folder of a checkpoint")
      ->default_str("auto");
  command
      ->add_option("--nproc", all.nproc,
                   "ranks on this machine that share the job; under torchrun, srun or mpirun every "
                   "process is a rank already")
      ->check(CLI::Range(1, 1024));
  command->callback([&all, argc, argv] {
    const Identity identity = identity_from(process_environment());
    if (all.nproc > 0 && identity.launcher != "alone")
      fail("--nproc: this process is ", description_of(identity), " already");
    if (all.nproc > 1)
      all.code = run_local_ranks(all.nproc, rank_arguments(argc, argv), /*handle=*/true);
    else
      train(all.train);
  });
}

void add_plan(CLI::App& app, Options& all, int argc, char** argv) {
  PlanOptions& options = all.plan;
  CLI::App* command =
      app.add_subcommand("plan", "memory and time of a job, and what would make it fit");
  add_configuration(command, options.configs, options.overrides);
  command
      ->add_option("--memory", options.memory_gb,
                   "GB to fit into, with --cluster of a rank; what there is if not given")
      ->check(within(1e-3, 1e6));
  command
      ->add_option("--mean-length", options.mean_length,
                   "tokens of a response; rollout.max_completion_length if not given")
      ->check(within(1.0, 1e8));
  command->add_option(
      "--cluster", options.cluster,
      "nodes=N,gpus=G,link=GB/s: the time of a step on so many ranks, by set-up, and "
      "what a rank holds; also local=GB/s, device=cpu|a100|h100|h200, decode_share, train_share, "
      "price");
  command->add_option("--lengths", options.lengths,
                      "with --cluster: run, or rollouts file, whose responses have the lengths");
  command
      ->add_option("--reward-s", options.reward_s,
                   "with --cluster: seconds from the end of a group to its rewards")
      ->check(within(0.0, 1e6));
  command->add_flag("--json", options.json, "one JSON object in place of tables");
  command->callback([&all, command, argc, argv] {
    if (command->count("--cluster") == 0)
      plan_command(all.plan);
    else
      all.code = plan_cluster_command(all.plan, rank_arguments(argc, argv));
  });
}

void add_replay(CLI::App& app, ReplayOptions& options) {
  CLI::App* command =
      app.add_subcommand("replay", "optimizer steps on stored rollouts, without sampling");
  add_configuration(command, options.config_paths, options.overrides);
  command
      ->add_option("--rollouts", options.rollouts,
                   "rollout rows with token fields, JSONL or JSONL.zst, or a run's rollouts folder")
      ->required();
  command->add_option("--run", options.run_dir, "folder of the run, in place of run.dir");
  command->add_option("--model", options.model, "in place of the configuration's model");
  command->add_option("--steps", options.steps, "stored steps at most; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--rescore", options.rescore,
                    "rewards, transforms and filter anew, and not as stored");
  command->add_option("--save-gradients", options.save_gradients,
                      "safetensors file for the gradient of the first update, before clipping");
  command->callback([&options] { replay(options); });
}

// Where a server listens.
void add_listening(CLI::App* command, std::string& host, int64_t& port) {
  command->add_option("--host", host, "address to listen on; other than loopback needs a token")
      ->capture_default_str();
  command->add_option("--port", port, "0: one that is free; it is printed")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
}

void add_endpoint(CLI::App& app, EndpointOptions& options) {
  CLI::App* command = app.add_subcommand("endpoint", "completions over HTTP, in OpenAI's shape");
  add_model(command, options);
  add_listening(command, options.host, options.port);
  command->add_option("--token-file", options.token_file,
                      "file with the token that requests must bear: Authorization: Bearer TOKEN");
  command->add_option("--model-name", options.model_name,
                      "what requests call the model; that of its file or folder if not given");
  command->add_option("--weight-version", options.weight_version, "is said in every answer")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-running", options.max_running, "responses decoded together")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--max-queue", options.max_queue, "responses that wait beside them; then 429")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  command
      ->add_option("--max-completion-length", options.max_completion_length,
                   "most tokens that a request may ask for; 0: what the model has room for")
      ->check(CLI::Range(0, 1 << 24));
  command
      ->add_option("--kv-cache-gb", options.kv_cache_gb,
                   "most memory of the key-value cache in GB; 0: half of what the machine has free")
      ->check(within(0.0, 1e6));
  command->add_option("--weights", options.weights, "format that responses are drawn with")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}));
  command
      ->add_option("--draft-tokens", options.draft_tokens,
                   "tokens that are guessed and computed together; the answers stay the same")
      ->check(CLI::Range(0, 32));
  command->add_option("--chat-format", options.chat_format,
                      cat("how messages become text; auto: as the model's own chat template; ",
                          join(chat_formats())));
  command->add_option("--chat-date", options.chat_date,
                      "day, YYYY-MM-DD, that smollm3, llama3.1 and llama3.2 write into prompts");
  command->add_option("--max-body-mb", options.max_body_mb, "largest body of a request; then 413")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--max-connections", options.max_connections, "open at once; then 503")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  command->callback([&options] { endpoint_command(options); });
}

void add_serve(CLI::App& app, ServeOptions& options) {
  CLI::App* command = app.add_subcommand("serve", "the report of runs as a live web page");
  command->add_option("runs", options.runs, "run folders, or folders of runs")->required();
  add_listening(command, options.host, options.port);
  command->add_option("--token-file", options.token_file,
                      "file with the token that a browser must give once: /?token=TOKEN");
  command
      ->add_option("--allow-host", options.hosts,
                   "name that requests may call this machine by; may come again")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  command->callback([&options] { serve_command(options); });
}

void add_worker(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand("worker", "draws responses for a running job");
  JoinOptions& worker = options.worker;
  command
      ->add_option("--join", worker.join,
                   "HOST:PORT, as the job's cluster.workers.listen or its log says")
      ->required();
  command
      ->add_option("--secret", worker.secret,
                   "file with the secret of the job (its cluster.workers.secret)")
      ->required();
  command->add_option("--interface", worker.interface,
                      "network interface that weights come over, such as eth0; the job's "
                      "cluster.interface is its own; loopback if not given");
  command->add_option("--threads", worker.threads, "CPU threads; 0: one a core")
      ->check(CLI::Range(0, 4096));
  command->callback([&options] { options.code = worker_command(options.worker); });
}

void add_convert(CLI::App& app, ConvertOptions& options) {
  CLI::App* command =
      app.add_subcommand("convert", "a model between Hugging Face folders and GGUF files");
  command->add_option("--model", options.model, "Hugging Face folder or GGUF file")->required();
  command->add_option("--out", options.out, "a folder, or a file that ends in .gguf")->required();
  command
      ->add_option("--dtype", options.dtype,
                   "f32, f16, bf16, in GGUF also q8_0; that of most weights if not given")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}));
  command->add_option("--shard-gb", options.shard_gb, "most GB (10^9 bytes) of a safetensors file")
      ->check(within(1e-6, 1e6));
  command->callback([&options] { convert_command(options); });
}

void add_text(CLI::App& app, Options& options) {
  CLI::App* command =
      app.add_subcommand("tokenize", "JSON Lines of {\"text\"} to {\"ids\"}, and back");
  command->add_option("--model", options.tokenize_model, "Hugging Face folder or GGUF file")
      ->required();
  command->add_flag("--decode", options.decode, "{\"ids\"} to {\"text\"}");
  command->add_flag("--add-special", options.add_special,
                    "with the tokens that the model's files put around every text");
  command->callback([&options] {
    tokenize_command(options.tokenize_model, options.decode, options.add_special);
  });

  command = app.add_subcommand("logprobs", "log-probability of every token of texts or ids");
  add_model(command, options.logprobs);
  command->add_option("--temperature", options.logprobs_temperature)->check(within(1e-3, 100.0));
  command
      ->add_option("--device", options.logprobs_device,
                   "cpu, or cuda in a build of the cuda preset")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->callback([&options] {
    logprobs_command(options.logprobs, options.logprobs_temperature, options.logprobs_device);
  });

  command = app.add_subcommand(
      "verify", "JSON Lines of {\"gold\", \"response\"} to verdicts on mathematical answers");
  command
      ->add_option("--extract", options.extract,
                   "boxed: the last box alone; lenient: without one also answer phrases, the last "
                   "LaTeX, the last number")
      ->check(CLI::IsMember({"boxed", "lenient"}))
      ->capture_default_str();
  command->callback([&options] { verify_command(options.extract); });
}

void add_convert_config(CLI::App& app, ConvertConfigOptions& options) {
  CLI::App* command = app.add_subcommand(
      "convert-config", "a configuration of TRL or verl as TOML; says what is not carried over");
  command->add_option("file", options.file, "YAML or JSON")->required();
  command->add_option("overrides", options.overrides, "key=value, as verl's command line has them");
  command->add_option("--from", options.from, "trl or verl; by its keys if not given")
      ->check(CLI::IsMember({"auto", "trl", "verl"}));
  command->add_option("--ranks", options.ranks, "processes of the job, where TRL counts by device")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--rows", options.rows, "of the training data, to turn epochs into steps")
      ->check(CLI::Range(int64_t{1}, kMostPrompts));
  command->add_option("--out", options.out, "TOML file; - for standard output")
      ->capture_default_str();
  command->callback([&options] { convert_config_command(options); });
}

void add_prompts(CLI::App& app, PromptsOptions& options) {
  CLI::App* command =
      app.add_subcommand("prompts", "what a configuration or a task trains on, as rows of data");
  add_configuration(command, options.configs, options.overrides)->required(false);
  command->add_option("--task", options.task, "a task family, in place of a configuration");
  command->add_option("--count", options.count, "prompts")
      ->check(CLI::Range(int64_t{1}, kMostPrompts));
  command->add_option("--from", options.from, "place of the first one")
      ->check(CLI::Range(int64_t{0}, kMostPrompts));
  command->add_flag("--eval", options.eval, "those of evaluations");
  command->add_flag("--demonstrations", options.demonstrations,
                    "with responses to imitate, of the SFT warm start");
  command->add_option("--shape", options.shape, "vernier, or reasoning_gym's question and answer")
      ->check(CLI::IsMember({"vernier", "reasoning_gym"}));
  command->add_option("--out", options.out, "JSONL file; - for standard output")
      ->capture_default_str();
  command->callback([&options] { prompts_command(options); });
}

void add_offline(CLI::App& app, Options& options) {
  CLI::App* command =
      app.add_subcommand("score", "rewards, transforms and advantages of stored rollouts");
  add_configuration(command, options.score.configs, options.score.overrides);
  command
      ->add_option("--rollouts", options.score.rollouts,
                   "rollout rows, JSONL or JSONL.zst, or a run's rollouts folder")
      ->required();
  command->add_option("--out", options.score.out, "JSONL file; - for standard output");
  command->add_flag("--explain", options.score.explain, "add every step of the sum");
  command->add_option("--compare", options.score.compare,
                      "a second configuration: how the two differ on these responses");
  command->add_flag("--json", options.score.json, "the comparison as one JSON object");
  command->callback([&options] { score_command(options.score); });

  command = app.add_subcommand("report", "curves and Pareto plots of one run or of many");
  command->add_option("runs", options.report.runs, "run folders, or folders of runs")->required();
  command->add_option("--out", options.report.out, "HTML file");
  command->add_option("--png", options.report.png, "folder for PNG files");
  command->add_option("--svg", options.report.svg, "folder for SVG files");
  command->add_option("--csv", options.report.csv, "folder for CSV files");
  command->add_flag("--text", options.report.text, "a table on standard output");
  command->add_flag("--json", options.report.json, "one JSON object on standard output");
  command->callback([&options] { write_report(options.report); });

  command = app.add_subcommand("reference", "every key with default, unit and source");
  command->add_option("topic", options.topic,
                      "rewards, algos, transforms, tasks, config or metrics");
  command->add_flag("--json", options.reference_json);
  command->callback([&options] { reference_command(options.topic, options.reference_json); });

  command = app.add_subcommand("doctor", "what this machine can run");
  command->add_option("--model", options.doctor_model, "also open this model");
  command->add_flag("--json", options.doctor_json);
  command->callback([&options] {
    doctor_command(options.doctor_model.empty() ? std::nullopt
                                                : std::optional<std::string>(options.doctor_model),
                   options.doctor_json);
  });
}

// The parser would call a command that it does not know an unexpected argument.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) == names.end())
    fail("vernier: ", argv[1], ": no such command", suggestion(argv[1], names),
         "; known: ", join(names));
}

int run(int argc, char** argv) {
  CLI::App app(
      "Vernier: reinforcement learning of language models that reason at the right length");
  app.name("vernier");
  app.require_subcommand(1);
  app.set_version_flag("--version", VERNIER_VERSION);
  Options options;
  add_train(app, options, argc, argv);
  add_plan(app, options, argc, argv);
  add_replay(app, options.replay);
  add_generate(app, options.generate);
  add_eval(app, options.eval);
  add_compare(app, options.compare);
  add_text(app, options);
  add_endpoint(app, options.endpoint);
  add_serve(app, options.serve);
  add_worker(app, options);
  add_convert(app, options.convert);
  add_convert_config(app, options.convert_config);
  add_prompts(app, options.prompts);
  add_offline(app, options);
  // Before any thread and any device: what it forks later must hold neither.
  std::optional<SpawnerProcess> spawner;
  try {
    spawner.emplace();
    check_command(app, argc, argv);
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      fail_run("standard output cannot be written");
    return options.code;
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? kDone : kUsage;
  } catch (const Interrupted&) {
    return kRequeue;
  } catch (const UsageError& problem) {
    log::end_progress();
    std::fprintf(stderr, "%s\n", problem.what());
    return kUsage;
  } catch (const std::bad_alloc&) {
    log::end_progress();
    std::fprintf(stderr, "vernier: out of memory\n");
    return kFailed;
  } catch (const std::exception& problem) {
    log::end_progress();
    std::fprintf(stderr, "vernier: %s\n", problem.what());
    return kFailed;
  }
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) { return vernier::run(argc, argv); }
