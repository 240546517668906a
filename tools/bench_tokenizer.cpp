// Times the tokenizer, or prints what it makes of texts. For tools/bench_tokenizer.py and
// comparisons with other libraries.
//
//   bench_tokenizer TOKENIZER.json TEXTS.jsonl          MB/s, the median of five passes
//   bench_tokenizer TOKENIZER.json TEXTS.jsonl --ids    a line {"ids", "text"} for each {"text"}:
//                                                       with special tokens, and decoded again
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/tokenizer.h"

namespace vernier {
namespace {

std::vector<std::string> read_texts(const char* path) {
  std::vector<std::string> texts;
  LineReader reader(path);
  std::string line;
  while (reader.next(line)) texts.push_back(parse_json(line, reader.where()).at("text"));
  return texts;
}

void print_ids(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = tokenizer.encode(text);
    const Json row = {{"ids", tokenizer.add_special(ids)}, {"text", tokenizer.decode(ids)}};
    std::printf("%s\n", dump_json(row).c_str());
  }
}

void time_passes(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  constexpr int kPasses = 5;
  size_t num_bytes = 0, num_ids = 0;
  for (const std::string& text : texts) num_bytes += text.size();
  std::vector<double> speeds;  // MB/s
  for (int pass = 0; pass < kPasses; ++pass) {
    num_ids = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) num_ids += tokenizer.encode(text).size();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    speeds.push_back(static_cast<double>(num_bytes) / took.count() / 1e6);
  }
  const double first = speeds[0];
  std::sort(speeds.begin(), speeds.end());
  const Json row = {{"mb_per_s", speeds[kPasses / 2]},
                    {"first_mb_per_s", first},
                    {"ids", num_ids},
                    {"kind", tokenizer.kind()}};
  std::printf("%s\n", dump_json(row).c_str());
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "bench_tokenizer TOKENIZER.json TEXTS.jsonl [--ids]\n");
    return 2;
  }
  const Tokenizer tokenizer = Tokenizer::from_json(read_file(argv[1]), argv[1]);
  const std::vector<std::string> texts = read_texts(argv[2]);
  if (argc > 3)
    print_ids(tokenizer, texts);
  else
    time_passes(tokenizer, texts);
  return 0;
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) {
  try {
    return vernier::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_tokenizer: %s\n", error.what());
    return 1;
  }
}
