// tokenize, logprobs: texts and token ids, line by line.
#include <cstdio>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/kernels/threads.h"
#include "core/model/model.h"
#include "core/weights/weights.h"
#include "tools/commands.h"

namespace vernier {
namespace {

std::vector<int32_t> ids_of(const Json& row, const std::string& where) {
  if (!row.is_object() || !row.contains("ids") || !row["ids"].is_array())
    fail(where, ": a row is {\"ids\": [...]}; found ", dump_json(row).substr(0, 60));
  std::vector<int32_t> ids;
  for (const Json& id : row["ids"]) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
      fail(where, ": ids: ", dump_json(id), " is not a token id");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

std::string text_of(const Json& row, const std::string& where) {
  if (!row.is_object() || !row.contains("text") || !row["text"].is_string())
    fail(where, ": a row is {\"text\": \"...\"}; found ", dump_json(row).substr(0, 60));
  return row["text"].get<std::string>();
}

std::vector<int32_t> encoded(const Tokenizer& tokenizer, const Json& row,
                             const std::string& where) {
  const std::string text = text_of(row, where);
  return placed(where, [&] { return tokenizer.encode(text); });
}

// Why the model cannot take these ids; "" where it can.
std::string token_problem(const std::vector<int32_t>& ids, const ModelSpec& spec) {
  for (const int32_t id : ids)
    if (id >= spec.vocab_size)
      return cat("token id ", id, " is outside the model's vocabulary of ", spec.vocab_size);
  if (static_cast<int64_t>(ids.size()) - 1 > spec.longest())
    return cat(ids.size(), " tokens are more than the model's ", spec.longest(), " positions");
  return "";
}

void print(const Json& row) {
  const std::string line = dump_json(row) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
}

}  // namespace

void tokenize_command(const std::string& model, bool decode, bool add_special) {
  const Tokenizer tokenizer = Tokenizer::open(model);
  if (add_special && tokenizer.add_special({}).empty())
    fail(model, ": --add-special: this model's files put no tokens around a text");
  LineReader reader("-");
  std::string line;
  while (reader.next(line)) {
    const Json row = parse_json(line, reader.where());
    if (decode) {
      const std::vector<int32_t> ids = ids_of(row, reader.where());
      print({{"text", placed(reader.where(), [&] { return tokenizer.decode(ids); })}});
      continue;
    }
    std::vector<int32_t> ids = encoded(tokenizer, row, reader.where());
    if (add_special) ids = tokenizer.add_special(std::move(ids));
    print({{"ids", ids}});
  }
}

void logprobs_command(const ModelOptions& options, double temperature, const std::string& device) {
  set_threads(options.threads);
  Model model =
      load_model(options.model, {.max_length = options.max_length, .device = at::Device(device)});
  const at::NoGradGuard no_grad;
  LineReader reader("-");
  std::string line;
  while (reader.next(line)) {
    const Json row = parse_json(line, reader.where());
    if (!row.is_object()) fail(reader.where(), ": a row is {\"ids\"} or {\"text\"}");
    const std::vector<int32_t> ids = row.contains("ids")
                                         ? ids_of(row, reader.where())
                                         : encoded(*model.tokenizer, row, reader.where());
    std::vector<float> logprobs;
    if (const std::string problem = token_problem(ids, model.decoder->spec()); !problem.empty())
      fail(reader.where(), ": ", problem);
    if (ids.size() > 1) {
      PackedTokens tokens;
      tokens.add({ids.begin(), ids.end() - 1});
      const at::Tensor found =
          model.decoder
              ->logprobs(model.decoder->hidden(tokens), {ids.begin() + 1, ids.end()}, temperature)
              .logprob.cpu();
      logprobs.assign(found.const_data_ptr<float>(), found.const_data_ptr<float>() + found.numel());
    }
    print({{"ids", ids}, {"logprobs", logprobs}});
  }
}

}  // namespace vernier
