// Tasks, prompts, the engine, rollout rows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "rewards/verify/rules.h"
#include "rollout/engine.h"
#include "rollout/prompts.h"
#include "rollout/rows.h"
#include "tests/task_of.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using testing::task_of;
using testing::tiny_model;
using testing::usage_error;

int value_of(char digit) { return digit - '0'; }
int term_of(const std::string& prompt, size_t i) { return value_of(prompt[2 * i + 1]); }

// Whether `hits` of `draws` are within four standard deviations of what a probability gives.
bool fits(int64_t hits, int64_t draws, double probability) {
  const auto n = static_cast<double>(draws);
  return std::abs(static_cast<double>(hits) / n - probability) <
         4 * std::sqrt(probability * (1 - probability) / n);
}

// Whether all of `values` values occur, each as often as the others.
bool even(const std::map<int, int64_t>& counts, size_t values) {
  int64_t draws = 0;
  for (const auto& [value, count] : counts) draws += count;
  return counts.size() == values &&
         std::all_of(counts.begin(), counts.end(), [&](const auto& entry) {
           return fits(entry.second, draws, 1.0 / static_cast<double>(values));
         });
}

TEST_CASE("chain_sum: prompts are deterministic, in range, and their answers right") {
  const auto task = task_of("chain_sum");
  std::map<int, int64_t> sizes;
  for (int64_t i = 0; i < 7000; ++i) {
    const Prompt prompt = task->prompt({1, i});
    CHECK(prompt.text == task->prompt({1, i}).text);
    const size_t n = prompt.text.size() / 2;
    REQUIRE(prompt.text.size() == 2 * n + 1);
    int sum = 0;
    for (size_t k = 0; k < n; ++k) {
      CHECK(prompt.text[2 * k] == static_cast<char>('a' + k));
      sum += prompt.text[2 * k + 1] - '0';
    }
    CHECK(prompt.text.back() == '=');
    CHECK(prompt.answer == std::to_string(sum % 10));
    ++sizes[static_cast<int>(n)];
  }
  REQUIRE(even(sizes, 7));
  CHECK(sizes.begin()->first == 2);
}

// The answer without mistakes in style D, T2, T1 or F.
std::string worked_answer(const std::string& prompt, const std::string& style) {
  const size_t n = prompt.size() / 2, step = style == "T2" ? 2 : 1;
  std::string text = style == "D" ? "" : prompt.substr(0, 2);
  int value = term_of(prompt, 0);
  for (size_t i = 1; i < n; i += step) {
    const size_t last = std::min(i + step, n) - 1;
    if (style == "F") text += cat(prompt.substr(2 * i, 2), '+', value);
    for (size_t k = i; k <= last; ++k) value = (value + term_of(prompt, k)) % 10;
    if (style == "T1" || style == "T2") text += prompt[2 * last];
    if (style != "D") text += cat('=', value);
  }
  return cat(text, '#', value, '.');
}

// Style X without the pairs `~k+v=w~(10-k)+w=v` that lead back to v; those that do not are left.
std::string without_detours(std::string text) {
  for (size_t at = text.find('~'); at != std::string::npos; at = text.find('~', at)) {
    const std::string pair = text.substr(at, 12);
    if (at == 0 || pair.size() < 12) return text;
    const int k = value_of(pair[1]), v = value_of(pair[3]), w = (v + k) % 10;
    if (text[at - 1] != pair[3] || pair != cat('~', k, '+', v, '=', w, '~', 10 - k, '+', w, '=', v))
      return text;
    text.erase(at, 12);
  }
  return text;
}

// Style F, whatever W or X have put between its steps.
std::string plain(const Demonstration& one) {
  std::string text = one.response;
  if (one.style == "W") std::erase(text, '~');
  return one.style == "X" ? without_detours(text) : text;
}

TEST_CASE("chain_sum: the specified examples") {
  const std::string prompt = "a3b8c5d9e2=";
  const std::map<std::string, std::string> examples = {{"D", "#7."},
                                                       {"T2", "a3c=6e=7#7."},
                                                       {"T1", "a3b=1c=6d=5e=7#7."},
                                                       {"F", "a3b8+3=1c5+1=6d9+6=5e2+5=7#7."}};
  for (const auto& [style, answer] : examples) CHECK(worked_answer(prompt, style) == answer);
  const std::string keys =
      "min_terms = 5\nmax_terms = 5\nerror_rate = 0\nwaffle_error_rate = 0\nunmarked_rate = 0\n";
  // The terms are drawn first: in every style one index has the same prompt.
  const auto direct = task_of("chain_sum", keys + "mix = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]");
  int64_t index = 0;
  while (index < 1000000 && direct->demonstrate(3, index, 0).prompt != prompt) ++index;
  REQUIRE(index < 1000000);
  const std::vector<std::string> styles = {"D", "T2", "T1", "F", "W", "X"};
  for (size_t s = 0; s < styles.size(); ++s) {
    std::string mix;
    for (size_t k = 0; k < styles.size(); ++k) mix += k == s ? "1.0, " : "0.0, ";
    const auto task = task_of("chain_sum", cat(keys, "mix = [", mix, "]"));
    const Demonstration one = task->demonstrate(3, index, 0);
    CHECK(one.prompt == prompt);
    CHECK(one.style == styles[s]);
    CHECK(plain(one) == examples.at(s < 4 ? styles[s] : "F"));
  }
}

// Lengths of the runs of fillers.
std::vector<int> fillers_of(const std::string& text) {
  std::vector<int> out;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] != '~') continue;
    if (text[i - 1] != '~') out.push_back(0);
    ++out.back();
  }
  return out;
}

// What the detours of style X were drawn from: steps where one was possible, and its first term.
struct Detours {
  int64_t possible = 0, taken = 0;
  std::map<int, int64_t> terms;

  void add(const std::string& text, size_t n) {
    size_t at = 2;
    int64_t found = 0;
    for (size_t step = 1; step < n; ++step) {
      at += 6;
      const bool here = text.at(at) == '~';
      if (step == n - 1 && found == 0) {
        CHECK(here);  // at least one
      } else if (found == 4) {
        CHECK(!here);  // at most four
      } else {
        ++possible;
        taken += here ? 1 : 0;
      }
      if (!here) continue;
      ++found;
      ++terms[value_of(text[at + 1])];
      at += 12;
    }
  }
};

TEST_CASE("chain_sum: without mistakes every style has its form and is right") {
  const auto task =
      task_of("chain_sum", "error_rate = 0\nwaffle_error_rate = 0\nunmarked_rate = 0");
  std::map<std::string, int64_t> styles;
  std::map<int, int64_t> fillers;
  Detours detours;
  for (int64_t i = 0; i < 20000; ++i) {
    const Demonstration one = task->demonstrate(3, i, 0);
    CAPTURE(one.response);
    ++styles[one.style];
    const bool short_form = one.style == "D" || one.style == "T1" || one.style == "T2";
    REQUIRE(plain(one) == worked_answer(one.prompt, short_form ? one.style : "F"));
    const size_t n = one.prompt.size() / 2;
    int sum = 0;
    for (size_t k = 0; k < n; ++k) sum += term_of(one.prompt, k);
    CHECK(verify("final_digit", one.response, std::to_string(sum % 10)).correct);
    if (one.style == "X") detours.add(one.response, n);
    if (one.style != "W") continue;
    const std::vector<int> runs = fillers_of(one.response);
    CHECK(runs.size() == n - 1);
    for (const int run : runs) ++fillers[run];
  }
  const std::map<std::string, double> mix = {{"D", .08}, {"T2", .07}, {"T1", .10},
                                             {"F", .20}, {"W", .40},  {"X", .15}};
  for (const auto& [style, share] : mix) CHECK(fits(styles[style], 20000, share));
  REQUIRE(even(fillers, 7));
  CHECK(fillers.begin()->first == 2);
  CHECK(fits(detours.taken, detours.possible, 0.45));
  REQUIRE(even(detours.terms, 9));
  CHECK(detours.terms.begin()->first == 1);
}

// The results written in the demonstrations of a style, and how far the wrong ones are off.
struct Results {
  int64_t written = 0, wrong = 0;
  std::map<int, int64_t> offsets;

  void add(const Demonstration& one) {
    const std::string& text = one.response;
    int value = term_of(one.prompt, 0);
    size_t done = 0;
    for (size_t at = text.find('='); at != std::string::npos; at = text.find('=', at + 1)) {
      int right = value;
      if (one.style == "T1" || one.style == "T2") {
        while (done < static_cast<size_t>(text[at - 1] - 'a')) right += term_of(one.prompt, ++done);
      } else {
        CHECK(value_of(text[at - 1]) == value);  // goes on from what was written
        right += value_of(text[at - 3]);
      }
      value = value_of(text[at + 1]);
      ++written;
      if (value == right % 10) continue;
      ++wrong;
      ++offsets[(value - right % 10 + 10) % 10];
    }
    if (one.style != "D") CHECK(value_of(text[text.size() - 2]) == value);
  }
};

TEST_CASE("chain_sum: mistakes compound, marks are missing, at the specified rates") {
  const auto task = task_of("chain_sum");
  int64_t unmarked = 0;
  std::map<std::string, Results> results;
  std::map<int, int64_t> offsets;
  for (int64_t i = 0; i < 20000; ++i) {
    const Demonstration one = task->demonstrate(3, i, 5);
    CHECK(one.prompt.size() <= 11);
    unmarked += one.response.find('#') == std::string::npos ? 1 : 0;
    results[one.style].add(one);
    if (one.style != "D") continue;
    int sum = 0;
    for (size_t k = 0; k < one.prompt.size() / 2; ++k) sum += term_of(one.prompt, k);
    CHECK(value_of(one.response[one.response.size() - 2]) == sum % 10);
  }
  CHECK(fits(unmarked, 20000, 0.05));
  CHECK(results["D"].written == 0);
  for (const char* style : {"T2", "T1", "F", "W", "X"}) {
    CAPTURE(style);
    const Results& found = results[style];
    CHECK(fits(found.wrong, found.written, std::string(style) == "W" ? 0.015 : 0.03));
    for (const auto& [offset, count] : found.offsets) offsets[offset] += count;
  }
  CHECK(even(offsets, 9));
  CHECK(usage_error([] { task_of("chain_sum", "mix = [1.0]"); }).find("expected 6") !=
        std::string::npos);
}

TEST_CASE("arithmetic: the answer is the value of the expression") {
  const auto task = task_of("arithmetic", "terms = 3\nmax_value = 50");
  for (int64_t i = 0; i < 200; ++i) {
    const Prompt prompt = task->prompt({1, i});
    int64_t value = 0, sign = 1;
    for (size_t at = std::string_view("What is ").size(); at < prompt.text.size();) {
      size_t used = 0;
      value += sign * std::stoll(prompt.text.substr(at), &used);
      at += used;
      sign = prompt.text[at + 1] == '-' ? -1 : 1;
      at += 3;
    }
    CHECK(prompt.answer == std::to_string(value));
  }
}

TEST_CASE("JSONL prompts: field names, order, epochs, mistakes") {
  testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "p.jsonl").string();
  write_file(path,
             "{\"prompt\":\"one\",\"answer\":\"1\"}\n\n{\"question\":\"two\",\"label\":2,"
             "\"difficulty\":3}\n"
             "{\"problem\":\"three\",\"reward_model\":{\"ground_truth\":\"12\"},\"verify\":\"last_"
             "integer\"}\n");
  DataConfig config;
  const auto source = file_prompts(path, config, false, 1);
  CHECK(source->size() == 3);
  const auto prompts = source->take(0, 4);
  CHECK(prompts[1].text == "two");
  CHECK(prompts[1].answer == "2");
  CHECK(prompts[1].difficulty == 3.0);
  CHECK(prompts[2].answer == "12");
  CHECK(prompts[2].verify == "last_integer");
  CHECK(prompts[3].text == "one");
  const auto shuffled = file_prompts(path, config, true, 1);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<std::string> seen;
    for (const Prompt& prompt : shuffled->take(3 * epoch, 3)) seen.insert(prompt.text);
    CHECK(seen.size() == 3);
  }
  const auto message = [&](const std::string& row) {
    write_file(path, "{\"prompt\":\"one\"}\n" + row + "\n");
    return usage_error([&] { file_prompts(path, config, false, 1); });
  };
  CHECK(message("not json").find(path + ":2: not JSON") == 0);
  CHECK(message("{\"text\":\"x\"}").find(":2: has none of prompt, question, problem, input") !=
        std::string::npos);
  CHECK(message("[1]").find("a row is a JSON object") != std::string::npos);
  CHECK(message("{\"prompt\":\"x\",\"verify\":\"exakt\"}").find("did you mean exact") !=
        std::string::npos);
  CHECK(message("{\"prompt\":\"x\",\"answer\":\"3.5\",\"verify\":\"last_integer\"}")
            .find(":2: answer: ") != std::string::npos);
  CHECK(message("{\"prompt\":[{\"role\":\"user\"}]}").find(":2: a message is") !=
        std::string::npos);
  config.on_bad_row = "skip";
  CHECK(message("not json").empty());
}

std::vector<Prompt> tiny_prompts(const Model& model, int64_t count) {
  const auto task = task_of("chain_sum");
  const DataConfig config;
  std::vector<Prompt> prompts;
  for (int64_t i = 0; i < count; ++i) {
    prompts.push_back(task->prompt({1, i}));
    render_prompt(prompts.back(), config, {.name = "none"}, *model.tokenizer);
  }
  return prompts;
}

std::map<std::pair<int64_t, int64_t>, Response> draw(Model& model, std::vector<Prompt> prompts,
                                                     RolloutConfig config) {
  Engine engine(*model.decoder, *model.tokenizer);
  std::map<std::pair<int64_t, int64_t>, Response> out;
  engine.generate(std::move(prompts), config, {.seed = 5, .step = 2}, 7, nullptr,
                  [&](Group&& group) {
                    for (Response& response : group.responses)
                      out[{group.prompt.index, response.sample}] = std::move(response);
                  });
  return out;
}

TEST_CASE("a prompt without a chat format begins with the tokenizer's own begin token, once") {
  const fs::path file = fs::path(VERNIER_TEST_CASES) / "text/tokenizers/llama2/tokenizer.json";
  const Tokenizer tokenizer = Tokenizer::from_json(read_file(file), file.string());
  const auto ids_of = [&](const char* text, const char* format) {
    Prompt prompt;
    prompt.text = text;
    render_prompt(prompt, DataConfig(), {.name = format}, tokenizer);
    return prompt.ids;
  };
  const std::vector<int32_t> bare = tokenizer.encode("one two");
  std::vector<int32_t> begun = bare;
  begun.insert(begun.begin(), 1);
  CHECK(ids_of("one two", "none") == begun);
  CHECK(ids_of("<s>one two", "none") == tokenizer.encode("<s>one two"));
  // A format writes the begin token where its template does.
  CHECK(ids_of("one two", "mistral").front() == 1);
  CHECK(ids_of("one two", "chatml").front() != 1);
}

TEST_CASE("a response does not depend on its neighbours in the batch") {
  Model model = tiny_model(false);
  RolloutConfig config;
  config.num_generations = 5;
  config.max_completion_length = 40;
  const auto together = draw(model, tiny_prompts(model, 9), config);
  CHECK(together.size() == 45);
  config.max_running = 1;
  const auto alone = draw(model, tiny_prompts(model, 9), config);
  config.max_running = 7;
  auto reversed = tiny_prompts(model, 9);
  std::reverse(reversed.begin(), reversed.end());
  const auto backwards = draw(model, reversed, config);
  std::set<std::string> texts;
  for (const auto& [key, response] : together) {
    for (const auto* other : {&alone, &backwards}) {
      CHECK(response.ids == other->at(key).ids);
      CHECK(response.logprobs == other->at(key).logprobs);
    }
    texts.insert(response.text);
    CHECK(response.num_tokens <= 40);
    CHECK((response.finish_reason == FinishReason::stop) == (response.text.back() == '.'));
    CHECK(std::find(response.ids.begin(), response.ids.end(), *model.tokenizer->pad_id()) ==
          response.ids.end());
    CHECK(response.versions == std::vector<std::pair<int64_t, int32_t>>{{7, response.num_tokens}});
  }
  CHECK(texts.size() > 30);
}

TEST_CASE("recorded log-probabilities equal those of a full pass, bit for bit") {
  Model model = tiny_model(false);
  RolloutConfig config;
  config.num_generations = 3;
  config.max_completion_length = 40;
  config.sampling.temperature = 0.8;
  const auto prompts = tiny_prompts(model, 4);
  const at::NoGradGuard no_grad;
  for (const auto& [key, response] : draw(model, prompts, config)) {
    const auto& prompt = prompts[static_cast<size_t>(key.first)].ids;
    PackedTokens tokens;
    std::vector<int32_t> ids = prompt;
    ids.insert(ids.end(), response.ids.begin(), response.ids.end() - 1);
    tokens.add(ids);
    const auto first = static_cast<int64_t>(prompt.size()) - 1;
    const at::Tensor hidden = model.decoder->hidden(tokens)
                                  .narrow(0, first, static_cast<int64_t>(response.ids.size()))
                                  .contiguous();
    const at::Tensor found =
        ops::token_logprobs(hidden, model.decoder->head(), response.ids, 0.8).logprob;
    for (size_t t = 0; t < response.ids.size(); ++t)
      CHECK(found[static_cast<int64_t>(t)].item<float>() == response.logprobs[t]);
  }
}

TEST_CASE("the engine stops when it is asked to, and names a prompt that does not fit") {
  Model model = tiny_model(false);
  Engine engine(*model.decoder, *model.tokenizer);
  const std::atomic<bool> stop{true};
  RolloutConfig config;
  config.max_completion_length = 40;
  CHECK_THROWS_AS(engine.generate(tiny_prompts(model, 2), config, {}, 0, &stop, [](Group&&) {}),
                  Interrupted);
  auto prompts = tiny_prompts(model, 1);
  prompts[0].ids.assign(25, 1);
  CHECK(usage_error([&] {
          engine.generate(prompts, config, {}, 0, nullptr, [](Group&&) {});
        }).find("25 tokens and max_completion_length = 40 do not fit the model's 64 positions") !=
        std::string::npos);
}

TEST_CASE("spans of thinking and answer by token id") {
  const Model model = tiny_model(false);
  RolloutConfig config;
  config.think_end = "#";
  const auto spans = [&](const std::string& prompt, const std::string& text) {
    Response response;
    response.ids = model.tokenizer->encode(text);
    set_spans(response, model.tokenizer->encode(prompt), ThinkTags(config, *model.tokenizer));
    return std::vector<int32_t>{response.think.begin, response.think.end,
                                response.answer_span.begin, response.answer_span.end};
  };
  CHECK(spans("a1=", "a1b2#3.") == std::vector<int32_t>{0, 4, 5, 7});
  CHECK(spans("a1=", "a1b2") == std::vector<int32_t>{0, 4, 4, 4});  // never closed: all thinking
  config.think_start = "?";
  CHECK(spans("a1=", "a1?b2#3.") == std::vector<int32_t>{3, 5, 6, 8});
  CHECK(spans("a1=?", "b2#3.") == std::vector<int32_t>{0, 2, 3, 5});  // the prompt opened it
  CHECK(spans("a1=", "b2.") == std::vector<int32_t>{-1, -1, 0, 3});
  config.think_end = "";
  CHECK(spans("a1=", "b2#3.") == std::vector<int32_t>{-1, -1, 0, 5});
  config.think_end = "</think>";
  CHECK(usage_error([&] {
          spans("a", "b");
        }).find("rollout.think_end: '</think>' is not one token") != std::string::npos);
}

TEST_CASE("rollout rows: written, read back, indexed; bad rows are named") {
  Model model = tiny_model(false);
  RolloutConfig config;
  config.num_generations = 2;
  config.max_completion_length = 20;
  std::vector<Group> groups;
  Engine(*model.decoder, *model.tokenizer)
      .generate(tiny_prompts(model, 3), config, {}, 0, nullptr, [&](Group&& group) {
        group.responses[0].correct = true;
        group.responses[0].reward = 0.5;
        group.responses[0].rewards = {
            {.name = "accuracy", .value = 0.5, .weight = 1, .abstained = ""}};
        groups.push_back(std::move(group));
      });
  groups[1].prompt.other_answers = {"3", "three"};
  testing::TemporaryFolder folder;
  write_rollout_files(folder.path(), 4, groups, true, "tempered");
  std::vector<Group> read;
  read_rollouts((folder.path() / "step_4.jsonl.zst").string(),
                [&](Group&& group) { read.push_back(std::move(group)); });
  REQUIRE(read.size() == 3);
  for (size_t g = 0; g < 3; ++g)
    for (size_t i = 0; i < 2; ++i) {
      CHECK(read[g].responses[i].ids == groups[g].responses[i].ids);
      CHECK(read[g].responses[i].logprobs == groups[g].responses[i].logprobs);
      CHECK(read[g].responses[i].correct == groups[g].responses[i].correct);
      CHECK(read[g].responses[i].versions == groups[g].responses[i].versions);
      CHECK(read[g].prompt.ids == groups[g].prompt.ids);
      CHECK(read[g].prompt.answer == groups[g].prompt.answer);
      CHECK(read[g].prompt.other_answers == groups[g].prompt.other_answers);
    }
  LineReader index((folder.path() / "step_4.idx").string());
  std::string line;
  REQUIRE(index.next(line));
  CHECK(line == kIndexHeader);
  const auto message = [&](const std::string& row) {
    const fs::path path = folder.path() / "bad.jsonl";
    write_file(path, row + "\n");
    return usage_error([&] { read_rollouts(path.string(), [](Group&&) {}); });
  };
  CHECK(message("{\"group\":0,\"response\":\"x\"}")
            .find(":1: has neither response_ids nor num_tokens") != std::string::npos);
  CHECK(message("{\"group\":0,\"num_tokens\":-1}").find("num_tokens: -1") != std::string::npos);
  CHECK(message("{\"group\":0,\"num_tokens\":3,\"finish_reason\":\"eos\"}")
            .find("'eos' is not one of stop") != std::string::npos);
  CHECK(message("{\"group\":0,\"num_tokens\":\"3\"}").find("num_tokens: \"3\" is not an integer") !=
        std::string::npos);
  CHECK(message("{\"group\":0,\"response_ids\":[1],\"num_tokens\":2}")
            .find("does not fit 1 response_ids") != std::string::npos);
  CHECK(
      message("{\"group\":0,\"num_tokens\":4294967297}").find("4294967297 is not an integer of") !=
      std::string::npos);
  CHECK(message("{\"group\":0,\"num_tokens\":2.7}").find("2.7 is not an integer of") !=
        std::string::npos);
  for (const std::string bad : {"7", "[7]", "[[7]]", "[[7,2,1]]", "[[7,2.5]]"})
    CHECK(message(cat("{\"group\":0,\"num_tokens\":2,\"versions\":", bad, "}"))
              .find(":1: versions: ") != std::string::npos);
  CHECK(message("{\"num_tokens\":2}").find("has no group") != std::string::npos);
  for (const std::string bad : {"5.0", "1e39", "-1e39"})
    CHECK(message(cat("{\"group\":0,\"response_ids\":[1],\"logprobs\":[", bad, "]}"))
              .find("is not the logarithm of a probability") != std::string::npos);
  const auto row = [](int group, const char* answer) {
    return cat("{\"group\":", group, ",\"num_tokens\":2,\"answer\":\"", answer, "\"}\n");
  };
  CHECK(message(row(0, "1") + row(1, "1") + row(0, "1"))
            .find(":3: group 0 of step 0 goes on after") != std::string::npos);
  CHECK(message(row(0, "1") + row(0, "2")).find(":2: answer: \"2\" differs from \"1\"") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
