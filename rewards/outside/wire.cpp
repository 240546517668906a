#include "rewards/outside/wire.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr size_t kMaxComponents = 64;
constexpr size_t kMaxReason = 300;

Json span_json(const TokenSpan& span) { return Json::array({span.begin, span.end}); }

TokenSpan read_span(const Json& span) {
  return {span.at(0).get<int32_t>(), span.at(1).get<int32_t>()};
}

// Where a word of Python's stands outside of a text, null takes its place.
std::string without_python_numbers(std::string_view text) {
  std::string out;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted) {
      out += text[i];
      if (text[i] == '\\' && i + 1 < text.size())
        out += text[++i];
      else if (text[i] == '"')
        quoted = false;
      continue;
    }
    size_t length = 0;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
      if (text.substr(i, word.size()) == word) length = std::max(length, word.size());
    if (length > 0) {
      out += "null";
      i += length - 1;
      continue;
    }
    quoted = text[i] == '"';
    out += text[i];
  }
  return out;
}

void read_components(const Json& components, Score& score) {
  if (!components.is_object()) throw BadReply("garbage", "\"components\" is not an object");
  if (components.size() > kMaxComponents)
    throw BadReply("garbage", cat(components.size(), " components, more than ", kMaxComponents));
  for (const auto& [name, value] : components.items()) {
    if (!value.is_number() && !value.is_boolean() && !value.is_null())
      throw BadReply("garbage", cat("component ", excerpt(name, 40), " is not a number"));
    // One that has no value is left out: it is no part of the sum.
    if (!value.is_null())
      score.components.emplace_back(excerpt(name, 60), value.is_boolean()
                                                           ? (value.get<bool>() ? 1.0 : 0.0)
                                                           : value.get<double>());
  }
}

// Causes become names of metrics.
std::string as_cause(const std::string& text) {
  std::string out = excerpt(text, 24);
  for (char& c : out)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != ' ') c = '_';
  return out.empty() ? "failed" : out;
}

Outcome read_item(const Json& item) {
  if (!item.is_object()) {
    if (item.is_number() || item.is_null()) return read_score(item);
    throw BadReply("garbage", cat("a reward is ", excerpt(dump_json(item)), ", not an object"));
  }
  if (const auto why = item.find("abstain"); why != item.end() && !why->is_null()) {
    const std::string text =
        excerpt(why->is_string() ? why->get<std::string>() : dump_json(*why), kMaxReason);
    if (const auto cause = item.find("failed"); cause != item.end() && cause->is_string())
      return failed(as_cause(cause->get<std::string>()), text);
    Outcome out;
    out.score.abstain = text.empty() ? "abstains" : text;
    return out;
  }
  const auto score = item.find("score");
  if (score == item.end())
    throw BadReply("garbage", cat(excerpt(dump_json(item)), " has neither score nor abstain"));
  Outcome out = read_score(*score);
  if (const auto parts = item.find("components"); parts != item.end() && !parts->is_null())
    read_components(*parts, out.score);
  return out;
}

}  // namespace

std::string excerpt(std::string_view text, size_t bytes) {
  std::string out = to_valid_utf8(text.substr(0, bytes * 2));
  if (out.size() > bytes) out.resize(whole_utf8_prefix(std::string_view(out).substr(0, bytes)));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  return text.size() > bytes ? out + "..." : out;
}

Json request_json(const Asked& asked) {
  Json out = {{"v", kWireVersion}, {"id", asked.id}, {"prompt", asked.prompt}};
  out["row"] = Json::parse(asked.row);
  Json& responses = out["responses"] = Json::array();
  for (const AskedResponse& one : asked.responses)
    responses.push_back({{"sample", one.sample},
                         {"text", one.text},
                         {"ids", one.ids},
                         {"num_tokens", one.num_tokens},
                         {"finish_reason", one.finish_reason},
                         {"think", span_json(one.think)},
                         {"answer", span_json(one.answer)}});
  return out;
}

std::string request_text(const Asked& asked) { return dump_json(request_json(asked)); }

Asked read_request(std::string_view text) {
  const Json request = parse_json(text, "request");
  try {
    Asked out;
    if (request.at("v").get<int64_t>() != kWireVersion)
      fail("request: version ", request["v"].get<int64_t>(), ", this is for version ",
           kWireVersion);
    out.id = request.at("id").get<std::string>();
    out.prompt = request.at("prompt").get<std::string>();
    out.row = dump_json(request.at("row"));
    for (const Json& one : request.at("responses"))
      out.responses.push_back({.sample = one.at("sample").get<int64_t>(),
                               .text = one.at("text").get<std::string>(),
                               .ids = one.at("ids").get<std::vector<int32_t>>(),
                               .num_tokens = one.at("num_tokens").get<int32_t>(),
                               .finish_reason = one.at("finish_reason").get<std::string>(),
                               .think = read_span(one.at("think")),
                               .answer = read_span(one.at("answer"))});
    return out;
  } catch (const Json::exception& problem) {
    fail("request: ", problem.what());
  }
}

Json parse_reply(std::string_view text) {
  std::string mended;
  if (text.find("NaN") != std::string_view::npos ||
      text.find("Infinity") != std::string_view::npos) {
    mended = without_python_numbers(text);
    text = mended;
  }
  try {
    return parse_json(text, "reply");
  } catch (const UsageError& problem) {
    throw BadReply("garbage", cat(problem.what(), ": ", excerpt(text)));
  }
}

std::string reply_id(const Json& reply) {
  if (!reply.is_object()) return "";
  const auto id = reply.find("id");
  if (id == reply.end()) return "";
  return id->is_string() ? id->get<std::string>() : dump_json(*id);
}

Outcome read_score(const Json& value) {
  if (value.is_boolean()) {
    Outcome out;
    out.score.value = value.get<bool>() ? 1.0 : 0.0;
    return out;
  }
  if (value.is_null()) return failed("nan", "the score is not a finite number");
  if (!value.is_number())
    throw BadReply("garbage", cat("the score ", excerpt(dump_json(value)), " is not a number"));
  Outcome out;
  out.score.value = value.get<double>();
  if (!std::isfinite(out.score.value)) return failed("nan", "the score is not a finite number");
  return out;
}

std::vector<Outcome> read_reply(const Json& reply, const Asked& asked) {
  if (!reply.is_object())
    throw BadReply("garbage", cat("the reply is not an object: ", excerpt(dump_json(reply))));
  if (const auto version = reply.find("v");
      version != reply.end() && *version != Json(kWireVersion))
    throw BadReply("version", cat("the reply is of version ", excerpt(dump_json(*version)),
                                  ", this is version ", kWireVersion));
  if (const std::string id = reply_id(reply); id != asked.id)
    throw BadReply("garbage",
                   cat("the reply is to \"", excerpt(id), "\", asked was \"", asked.id, "\""));
  const auto rewards = reply.find("rewards");
  if (rewards == reply.end() || !rewards->is_array())
    throw BadReply("garbage", cat("no list of rewards: ", excerpt(dump_json(reply))));
  if (rewards->size() != asked.responses.size())
    throw BadReply("count",
                   cat(rewards->size(), " rewards for ", asked.responses.size(), " responses"));
  std::vector<Outcome> out;
  for (const Json& item : *rewards) try {
      out.push_back(read_item(item));
    } catch (const BadReply& problem) {
      out.push_back(failed(problem.cause(), problem.what()));
    }
  return out;
}

}  // namespace vernier
