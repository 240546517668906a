#include "rewards/outside/url_shape.h"

#include "core/base/errors.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

using Outcomes = std::vector<std::vector<Outcome>>;

// ---- vernier

std::string vernier_request(const std::vector<AskedPtr>& asked, bool batches) {
  if (!batches) return request_text(*asked.front());
  Json groups = Json::array();
  for (const AskedPtr& one : asked) groups.push_back(request_json(*one));
  return dump_json({{"v", kWireVersion}, {"groups", groups}});
}

std::vector<Outcome> outcomes_of(const Json& reply, const Asked& asked) {
  try {
    return read_reply(reply, asked);
  } catch (const BadReply& problem) {
    return std::vector<Outcome>(asked.responses.size(), failed(problem.cause(), problem.what()));
  }
}

Outcomes vernier_reply(const Json& reply, const std::vector<AskedPtr>& asked, bool batches) {
  if (!batches) return {read_reply(reply, *asked.front())};
  const auto groups = reply.is_object() ? reply.find("groups") : reply.end();
  if (groups == reply.end() || !groups->is_array())
    throw BadReply("garbage", cat("no list of groups: ", excerpt(dump_json(reply))));
  if (const auto version = reply.find("v"); version != reply.end() && *version != kWireVersion)
    throw BadReply("version", cat("the reply is of version ", excerpt(dump_json(*version)),
                                  ", this is version ", kWireVersion));
  if (groups->size() != asked.size())
    throw BadReply("count", cat(groups->size(), " groups for ", asked.size()));
  Outcomes out;
  for (size_t i = 0; i < asked.size(); ++i) out.push_back(outcomes_of((*groups)[i], *asked[i]));
  return out;
}

// ---- openrlhf

std::string openrlhf_request(const std::vector<AskedPtr>& asked) {
  Json query = Json::array(), prompts = Json::array(), labels = Json::array();
  for (const AskedPtr& one : asked)
    for (const AskedResponse& response : one->responses) {
      query.push_back(one->prompt + response.text);
      prompts.push_back(one->prompt);
      labels.push_back(one->answer);
    }
  return dump_json({{"query", query}, {"prompts", prompts}, {"labels", labels}});
}

// A number of a list that a tensor was written as: 1.5 or [1.5].
const Json& single(const Json& value) {
  return value.is_array() && value.size() == 1 ? value.front() : value;
}

Outcomes openrlhf_reply(const Json& reply, const std::vector<AskedPtr>& asked) {
  size_t count = 0;
  for (const AskedPtr& one : asked) count += one->responses.size();
  const auto rewards = reply.is_object() ? reply.find("rewards") : reply.end();
  if (rewards == reply.end() || !rewards->is_array())
    throw BadReply("garbage", cat("no list of rewards: ", excerpt(dump_json(reply))));
  if (rewards->size() != count)
    throw BadReply("count", cat(rewards->size(), " rewards for ", count, " responses"));
  // Lists that go with the responses become components.
  std::vector<std::pair<std::string, const Json*>> lists;
  if (const auto scores = reply.find("scores"); scores != reply.end())
    lists.emplace_back("score", &*scores);
  if (const auto logs = reply.find("extra_logs"); logs != reply.end() && logs->is_object())
    for (const auto& [name, list] : logs->items()) lists.emplace_back(excerpt(name, 60), &list);
  Outcomes out;
  size_t place = 0;
  for (const AskedPtr& one : asked) {
    out.emplace_back();
    for (size_t i = 0; i < one->responses.size(); ++i, ++place) try {
        Outcome outcome = read_score(single((*rewards)[place]));
        for (const auto& [name, list] : lists)
          if (list->is_array() && list->size() == count && single((*list)[place]).is_number())
            outcome.score.components.emplace_back(name, single((*list)[place]).get<double>());
        out.back().push_back(std::move(outcome));
      } catch (const BadReply& problem) {
        out.back().push_back(failed(problem.cause(), problem.what()));
      }
  }
  return out;
}

// ---- slime

std::string slime_request(const Asked& asked) {
  return dump_json({{"prompt", asked.prompt},
                    {"response", asked.responses.front().text},
                    {"label", asked.answer}});
}

Outcomes slime_reply(const Json& reply, const std::string& key) {
  if (!reply.is_object()) return {{read_score(reply)}};
  const auto score = reply.find(key);
  if (score == reply.end())
    throw BadReply("garbage", cat("no ", key, " in ", excerpt(dump_json(reply))));
  Outcome outcome = read_score(*score);
  for (const auto& [name, value] : reply.items())
    if (name != key && value.is_number())
      outcome.score.components.emplace_back(excerpt(name, 60), value.get<double>());
  return {{std::move(outcome)}};
}

}  // namespace

std::string UrlShape::request(const std::vector<AskedPtr>& asked) const {
  if (name == "openrlhf") return openrlhf_request(asked);
  if (name == "slime") return slime_request(*asked.front());
  return vernier_request(asked, batches);
}

Outcomes UrlShape::reply(std::string_view body, const std::vector<AskedPtr>& asked) const {
  const Json reply = parse_reply(body);
  if (name == "openrlhf") return openrlhf_reply(reply, asked);
  if (name == "slime") return slime_reply(reply, reward_key);
  return vernier_reply(reply, asked, batches);
}

}  // namespace vernier
