// The command line of those who draw responses, or evaluate them.
#include <array>
#include <cmath>
#include <string>

#include "core/base/errors.h"
#include "core/text/chat_format.h"
#include "rewards/units.h"
#include "rewards/verify/rules.h"
#include "tools/command_line.h"

namespace vernier {
namespace {

// What a model is computed with.
void add_computing(CLI::App* command, ModelOptions& options) {
  command->add_option("--threads", options.threads, "CPU threads; 0: one a core")
      ->check(CLI::Range(0, 4096));
  command
      ->add_option(
          "--max-length", options.max_length,
          "longest sequence in tokens, prompt and response; it chooses longrope's factors; "
          "0: what the model was made for")
      ->check(CLI::Range(0, 1 << 30));
}

// What is not the filters' doing: other logits, and other ends. One value an option: a stop text
// may look like anything.
void add_ending(CLI::App* command, DrawOptions& options) {
  const auto each = [](CLI::Option* option) {
    option->take_all()->expected(1)->allow_extra_args(false);
  };
  command
      ->add_option("--repetition-penalty", options.sampling.repetition_penalty,
                   "over the ids of prompt and response; 1: none")
      ->check(within(0.01, 100.0));
  each(command->add_option("--logit-bias", options.logit_bias,
                           "ID=BIAS, added to the logit of a token id; may come again"));
  each(command->add_option("--stop", options.stop,
                           "text that ends a response, which keeps it; may come again"));
  each(command->add_option("--stop-token-id", options.stop_token_ids,
                           "token that ends a response; may come again"));
  command->add_option("--thinking-budget", options.thinking_budget,
                      "tokens of thinking after which --think-end is forced");
  command->add_option("--repetition-ngram", options.repetition_ngram,
                      "end a response that repeats a block of at most so many tokens; 0: never");
  command->add_option("--repetition-limit", options.repetition_limit,
                      "blocks of --repetition-ngram tokens that are too many in a row");
}

// What the engine does it with; the responses are the same but for --weights.
void add_engine(CLI::App* command, DrawOptions& options) {
  command->add_option("--max-running", options.max_running, "responses decoded together")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--weights", options.weights,
                   "format of the weights that responses are drawn with")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}));
  command->add_option("--kv-cache-gb", options.kv_cache_gb,
                      "most memory of the key-value cache in GB; 0: half of what is free");
  command->add_option("--draft-tokens", options.draft_tokens,
                      "tokens that are guessed from the texts of a group and computed together");
  command->add_option("--draft-ngram", options.draft_ngram,
                      "tokens that must have stood together before for a guess");
  command->add_option("--draft-rows", options.draft_rows,
                      "guesses fill a pass of the model up to so many tokens");
}

// Prompts, and how responses to them are drawn.
void add_drawing(CLI::App* command, DrawOptions& options) {
  command->add_option("--data", options.data, "prompts: JSON Lines, Parquet or JSON");
  command->add_option("--task", options.task, "prompts of a task family, in place of --data");
  command->add_option("--verify", options.verify,
                      cat("rule of correctness where a row names none: ", join(verify_rules())));
  command->add_option("--prompt-field", options.prompt_field, "column of the prompt");
  command->add_option("--answer-field", options.answer_field, "column of the answer");
  command->add_option("--prompt-template", options.prompt_template,
                      "wraps a plain prompt; {prompt} stands for it");
  command->add_option("--n", options.n, "responses a prompt")->check(CLI::Range(1, 4096));
  command
      ->add_option("--max-completion-length", options.max_completion_length,
                   "tokens of a response; 0: what the model has room for, 256 at most")
      ->check(CLI::Range(0, 1 << 24));
  CLI::Option* temperature =
      command->add_option("--temperature", options.sampling.temperature)->check(within(0.0, 100.0));
  CLI::Option* top_k = command->add_option("--top-k", options.sampling.top_k, "0: all")
                           ->check(CLI::Range(0, 1 << 24));
  CLI::Option* top_p =
      command->add_option("--top-p", options.sampling.top_p)->check(within(1e-6, 1.0));
  CLI::Option* min_p =
      command->add_option("--min-p", options.sampling.min_p)->check(within(0.0, 1.0));
  add_ending(command, options);
  command->add_option("--seed", options.seed)->check(CLI::NonNegativeNumber);
  command->add_option("--limit", options.limit, "use the first so many prompts; 0: all")
      ->check(CLI::Range(0, 1000000));
  command->add_option("--device", options.device, "cpu, or cuda in a build of the cuda preset")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  add_engine(command, options);
  CLI::Option* chat_format =
      command->add_option("--chat-format", options.chat_format,
                          cat("how a prompt becomes text; auto: as the model's own chat template; ",
                              join(chat_formats())));
  CLI::Option* chat_date = command->add_option(
      "--chat-date", options.chat_date,
      "day, YYYY-MM-DD, that smollm3, llama3.1 and llama3.2 write into prompts");
  command->add_option("--think-start", options.think_start,
                      "tag that opens the thinking; none: a response starts inside it");
  command->add_option("--think-end", options.think_end, "tag that ends the thinking");
  CLI::Option* greedy =
      command->add_flag("--greedy", options.greedy, "always the most probable token");
  for (CLI::Option* option : {temperature, top_k, top_p, min_p}) greedy->excludes(option);
  command->add_flag("--raw", options.raw, "the prompt's text as it is, no chat format")
      ->excludes(chat_format)
      ->excludes(chat_date);
}

void add_aes(CLI::App* command, double& gain, double& loss) {
  command->add_option("--aes-gain", gain, "factor of a relative gain of accuracy, in AES")
      ->capture_default_str()
      ->check(within(0.0, 1e6));
  command->add_option("--aes-loss", loss, "factor of a relative loss of accuracy, in AES")
      ->capture_default_str()
      ->check(within(0.0, 1e6));
}

// The data sets of a file, which has what other options would say of prompts and sampling.
void add_suite(CLI::App* command, EvalOptions& options) {
  CLI::Option* suite = command->add_option(
      "--suite", options.suite,
      "TOML file of several data sets with their sampling (configs/eval); prints a table of all; "
      "--out is a folder then");
  for (const char* other : {"--rollouts",
                            "--data",
                            "--task",
                            "--verify",
                            "--prompt-field",
                            "--answer-field",
                            "--prompt-template",
                            "--n",
                            "--max-completion-length",
                            "--temperature",
                            "--top-k",
                            "--top-p",
                            "--min-p",
                            "--greedy",
                            "--repetition-penalty",
                            "--budgets",
                            "--answer-tokens",
                            "--k",
                            "--bucket-tokens",
                            "--after"})
    suite->excludes(command->get_option(other));
  command->add_option("--data-dir", options.data_dir, "folder of the suite's rows; . by default")
      ->needs(suite);
  command
      ->add_option("--reference", options.reference,
                   "what --suite --json printed of another model: AES is against it")
      ->needs(suite);
  command->add_option("--format", options.format, "of the suite's table")
      ->needs(suite)
      ->excludes(command->get_option("--json"))
      ->check(CLI::IsMember({"text", "markdown", "latex"}));
  add_aes(command, options.aes_gain, options.aes_loss);
  for (const char* factor : {"--aes-gain", "--aes-loss"})
    command->get_option(factor)->needs(command->get_option("--reference"));
}

// What says how responses are drawn, and would be ignored of those that are there.
constexpr std::array<const char*, 33> kDrawingOptions = {"--verify",
                                                         "--prompt-field",
                                                         "--answer-field",
                                                         "--prompt-template",
                                                         "--n",
                                                         "--max-completion-length",
                                                         "--max-length",
                                                         "--temperature",
                                                         "--top-k",
                                                         "--top-p",
                                                         "--min-p",
                                                         "--greedy",
                                                         "--repetition-penalty",
                                                         "--logit-bias",
                                                         "--stop",
                                                         "--stop-token-id",
                                                         "--thinking-budget",
                                                         "--repetition-ngram",
                                                         "--repetition-limit",
                                                         "--seed",
                                                         "--limit",
                                                         "--device",
                                                         "--threads",
                                                         "--max-running",
                                                         "--weights",
                                                         "--kv-cache-gb",
                                                         "--draft-tokens",
                                                         "--draft-ngram",
                                                         "--draft-rows",
                                                         "--chat-format",
                                                         "--chat-date",
                                                         "--think-start",
                                                         "--raw"};

}  // namespace

CLI::Validator within(double low, double high) {
  const CLI::Range range(low, high);
  return CLI::Validator(
      [range](std::string& text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && std::isnan(value))
          return cat(text, " is not a number");
        return range(text);
      },
      range.get_description());
}

void add_model(CLI::App* command, ModelOptions& options) {
  command->add_option("--model", options.model, "Hugging Face folder or GGUF file")->required();
  add_computing(command, options);
}

void add_generate(CLI::App& app, DrawOptions& options) {
  CLI::App* command = app.add_subcommand("generate", "responses to prompts, as rollout rows");
  add_model(command, options);
  add_drawing(command, options);
  command->add_option("--out", options.out, "JSONL file; - for standard output")->required();
  command
      ->add_option("--record-logprobs", options.record_logprobs,
                   "sampled, plain: also those of the distribution that was drawn from, of the "
                   "model at temperature 1; comma separated")
      ->delimiter(',');
  command->callback([&options] { generate_command(options); });
}

void add_eval(CLI::App& app, EvalOptions& options) {
  CLI::App* command = app.add_subcommand(
      "eval", "accuracy and length of a model, or of stored responses, at token budgets");
  options.n = 16;
  command->add_option("--model", options.model, "Hugging Face folder or GGUF file");
  CLI::Option* rollouts = command->add_option(
      "--rollouts", options.rollouts,
      "rows of responses that are there already, JSONL or JSONL.zst, or a folder of "
      "them: nothing is drawn; with --budgets they need --model's tokenizer");
  add_computing(command, options);
  add_drawing(command, options);
  command->add_option("--budgets", options.budgets, "token budgets, comma separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--answer-tokens", options.answer_tokens,
                   "also end the thinking at each budget with --think-end, and draw so many tokens "
                   "more, the tag among them")
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--k", options.ks,
                   "choices among k responses (pass@k, maj@k, the shortest, the best by each "
                   "reward); comma separated, powers of 2 up to n by default")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--bucket-tokens", options.bucket_tokens,
                   "tokens of a bucket of the length-filtered vote; by default 2 IQR / m^(1/3) of "
                   "the m lengths")
      ->check(CLI::Range(1.0, 1e9));
  command->add_option("--length-table", options.length_table,
                      "lengths that rows ask for, with the bounds of a match: ruler, or a file as "
                      "configs/lengths/ruler.toml");
  command->add_option("--after", options.after,
                      "a reader sees only the text behind the last of these; --think-end by "
                      "default");
  command->add_option("--out", options.out,
                      "also write the responses as JSONL; an evaluation that was left goes on");
  command->add_flag("--json", options.json, "one JSON object in place of a table");
  add_suite(command, options);
  for (const char* other : kDrawingOptions) rollouts->excludes(command->get_option(other));
  command->callback([&options] { eval_command(options); });
}

void add_compare(CLI::App& app, CompareOptions& options) {
  CLI::App* command = app.add_subcommand(
      "compare", "models or stored rollouts on the same prompts, and at equal lengths");
  command
      ->add_option(
          "sides", options.sides,
          "two or more: models (Hugging Face folder, GGUF file), rollout rows (JSONL, "
          "JSONL.zst, a folder of them), or runs, of which the last evaluation counts; the "
          "first is what the others are compared with")
      ->required()
      ->expected(2, 64);
  command->add_option("--unit", options.unit, cat("of lengths: ", join(length_units())))
      ->capture_default_str()
      ->check(CLI::IsMember(length_units()));
  command->add_option("--after", options.after,
                      "only the text after the last of these has a length; not with tokens");
  add_aes(command, options.aes_gain, options.aes_loss);
  command->add_flag("--gap", options.gap,
                    "supervision gap recovered; the sides are untrained, trained on easy prompts, "
                    "trained on hard ones");
  command->add_flag("--json", options.json, "one JSON object in place of lines");
  options.n = 16;
  add_computing(command, options);
  add_drawing(command, options);
  command->callback([command, &options] {
    for (const char* given : kDrawingOptions)
      if (command->count(given) > 0) options.drawing_options.emplace_back(given);
    if (!options.after.empty() && options.unit == "tokens")
      fail("--after: is of texts; give a --unit other than tokens");
    compare_command(options);
  });
}

}  // namespace vernier
