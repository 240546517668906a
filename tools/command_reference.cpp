// reference: what Vernier knows.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <span>
#include <utility>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/metrics/metric_names.h"
#include "core/metrics/metrics.h"
#include "core/text/chat_format.h"
#include "rewards/verify/rules.h"
#include "tools/commands.h"
#include "trainer/length_numbers.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

constexpr std::string_view kTopics[] = {"config", "rewards", "transforms", "algos",
                                        "tasks",  "metrics", "lengths",    "chat_formats"};

struct Key : KeyRecord {
  bool needed = false;  // it is a mistake to leave it out, so what its field holds is no default
};

// The keys that `bind` reads. Nothing is given, so a mistake at a key says that it is needed.
std::vector<Key> keys_of(ConfigFile file, const std::function<void(Binder&)>& bind) {
  std::string mistakes;
  try {
    file.bind(bind);
  } catch (const UsageError& found) {
    mistakes = found.what();
  }
  std::vector<Key> out;
  for (const KeyRecord& record : file.keys()) {
    Key key{record, false};
    const std::string place = key.section.empty() ? key.key : cat(key.section, ".", key.key);
    key.needed = mistakes.find(cat(": ", place, ": ")) != std::string::npos;
    if (key.needed) key.value.clear();
    out.push_back(std::move(key));
  }
  return out;
}

// Those that a plug-in reads, of an empty table.
template <class T, class... Args>
std::vector<Key> plugin_keys(const typename Registry<T, Binder&, Args...>::Row& row,
                             const Args&... context) {
  return keys_of(ConfigFile::parse("", "reference"),
                 [&](Binder& root) { row.make(root, context...); });
}

// Those of an entry of [[reward]] or [[transform]], with the keys that every entry has.
std::vector<Key> entry_keys(const std::string& list, const std::string& type,
                            const ScoringContext& context) {
  ScoringChain chain;
  return keys_of(ConfigFile::parse(cat("[[", list, "]]\ntype = \"", type, "\"\n"), "reference"),
                 [&](Binder& root) { chain.bind(root, context); });
}

struct Sample {
  std::string label, text;
};

struct Entry {
  std::string name;
  Doc doc;
  std::vector<Key> keys;
  std::vector<Sample> samples = {};
};

// Tiers of a task family, its first prompt with the answer, and a demonstration, by its defaults.
std::vector<Sample> samples_of(const TaskRegistry::Row& row) {
  std::unique_ptr<Task> task;
  ConfigFile file = ConfigFile::parse("", "reference");
  file.bind([&](Binder& root) { task = row.make(root); });
  std::vector<Sample> out;
  std::string tiers;
  constexpr const char* kNames[] = {"S", "M", "L"};
  for (size_t i = 0; i < task->tiers.size(); ++i)
    tiers += cat(i > 0 ? ", " : "", kNames[i], ' ', task->tiers[i].shortest, " to ",
                 task->tiers[i].longest);
  if (!tiers.empty()) out.push_back({"tiers", cat(tiers, ' ', task->unit)});
  const Prompt prompt = task->prompt({1, 0});
  out.push_back({"prompt", prompt.text});
  out.push_back({"answer", prompt.answer});
  if (!task->demonstrate) return out;
  const Demonstration shown = task->demonstrate(1, 0, task->easiest);
  out.push_back({"demonstration", shown.prompt + shown.response});
  return out;
}

// Those of a table inside by their path: "chain.linear".
std::vector<Key> inner_keys(std::vector<Key> keys) {
  for (Key& key : keys)
    if (!key.section.empty()) key.key = cat(key.section, '.', key.key);
  return keys;
}

// Entries of a list of tables have keys in common: they are told once, in an entry of their own.
void share_keys(const std::string& name, std::vector<Entry>& entries) {
  Entry common{name, "the keys of every entry", {}};
  const auto has = [](const Entry& entry, const Key& key) {
    return std::ranges::any_of(entry.keys, [&](const Key& own) { return own.key == key.key; });
  };
  if (entries.size() < 2) return;
  for (Key key : entries.front().keys) {
    if (!std::ranges::all_of(entries, [&](const Entry& one) { return has(one, key); })) continue;
    if (key.key == "type" || key.key == "name") key.value.clear();
    common.keys.push_back(std::move(key));
  }
  for (Entry& entry : entries)
    std::erase_if(entry.keys, [&](const Key& key) { return has(common, key); });
  entries.insert(entries.begin(), std::move(common));
}

std::vector<Entry> entries_of(std::string_view topic) {
  // A run where every default holds: groups large enough for dot's alpha, a tokenizer.
  const ScoringContext scoring{.num_generations = 16,
                               .max_completion_length = 1024,
                               .think_end = {},
                               .decode = [](std::span<const int32_t>) { return std::string(); }};
  const AlgorithmContext algorithm{.num_generations = 8, .max_completion_length = 1024};
  std::vector<Entry> out;
  if (topic == "rewards")
    for (const auto& [name, row] : RewardRegistry::all())
      out.push_back({name, row.doc, entry_keys("reward", name, scoring)});
  if (topic == "transforms")
    for (const auto& [name, row] : TransformRegistry::all())
      out.push_back({name, row.doc, entry_keys("transform", name, scoring)});
  if (topic == "rewards") share_keys("[[reward]]", out);
  if (topic == "transforms") share_keys("[[transform]]", out);
  if (topic == "algos")
    for (const auto& [name, row] : AlgorithmRegistry::all())
      out.push_back(
          {name, row.doc, plugin_keys<Algorithm, const AlgorithmContext&>(row, algorithm)});
  if (topic == "tasks")
    for (const auto& [name, row] : TaskRegistry::all())
      out.push_back({name, row.doc, inner_keys(plugin_keys<Task>(row)), samples_of(row)});
  if (topic == "chat_formats")
    for (const auto& [name, doc] : chat_format_docs()) out.push_back({name, doc.c_str(), {}});
  if (topic == "config") {
    RunConfig config;
    for (Key key :
         keys_of(ConfigFile::parse("", "reference"), [&](Binder& root) { config.bind(root); })) {
      key.needed = false;  // another table may stand for it: [model.new] for model.path
      if (out.empty() || out.back().name != key.section) out.push_back({key.section, "", {}});
      out.back().keys.push_back(key);
    }
  }
  return out;
}

void print_entry(const Entry& entry, bool section) {
  std::printf("%s%s%s%s%s\n", section ? "[" : "", entry.name.c_str(), section ? "]" : "",
              entry.doc.summary.empty() ? "" : "  ", entry.doc.summary.c_str());
  for (const auto& [label, text] :
       {std::pair("formula", &entry.doc.formula), std::pair("units", &entry.doc.units),
        std::pair("source", &entry.doc.source)})
    if (!text->empty()) std::printf("  %-26s %s\n", label, text->c_str());
  for (const Sample& sample : entry.samples)
    std::printf("  %-26s %s\n", sample.label.c_str(), sample.text.c_str());
  for (const Key& key : entry.keys) {
    const std::string value = key.needed ? "(needed)" : key.value.empty() ? "(not set)" : key.value;
    std::printf("  %-26s %-22s %s\n", key.key.c_str(), value.c_str(), key.doc.c_str());
    std::printf("  %-26s %s\n", "", key.allowed.c_str());
  }
  std::printf("\n");
}

Json entry_json(const Entry& entry) {
  Json keys = Json::array();
  for (const Key& key : entry.keys)
    keys.push_back({{"key", key.key},
                    {"default", key.value},
                    {"needed", key.needed},
                    {"allowed", key.allowed},
                    {"doc", key.doc}});
  Json out = {{"name", entry.name},           {"summary", entry.doc.summary},
              {"formula", entry.doc.formula}, {"units", entry.doc.units},
              {"source", entry.doc.source},   {"keys", keys}};
  for (const Sample& sample : entry.samples) out[sample.label] = sample.text;
  return out;
}

// Names with a unit and a meaning, by topic; none of a topic whose entries have keys.
std::vector<MetricDoc> numbers_of(const std::string& topic) {
  if (topic == "lengths") return length_number_docs();
  std::vector<MetricDoc> out;
  if (topic == "metrics")
    for (const auto& [name, doc] : MetricDocs::all()) out.push_back(doc);
  return out;
}

void print_number(const MetricDoc& doc) {
  std::printf("  %-40s %-10s %s\n", doc.name.c_str(), doc.unit.c_str(), doc.meaning.c_str());
}

Json number_json(const MetricDoc& doc) {
  Json out = {{"name", doc.name}, {"unit", doc.unit}, {"doc", doc.meaning}};
  if (const auto other = verl_names().find(doc.name); other != verl_names().end())
    out["verl"] = other->second;
  return out;
}

}  // namespace

void reference_command(const std::string& topic, bool json) {
  std::vector<std::string> topics(std::begin(kTopics), std::end(kTopics));
  if (!topic.empty() && std::find(topics.begin(), topics.end(), topic) == topics.end())
    fail("reference: ", topic, ": no such topic", suggestion(topic, topics),
         "; known: ", join(topics));
  if (!topic.empty()) topics = {topic};
  Json all = Json::object();
  for (const std::string& name : topics) {
    if (!json) std::printf("# %s\n\n", name.c_str());
    if (const std::vector<MetricDoc> numbers = numbers_of(name); !numbers.empty()) {
      for (const MetricDoc& doc : numbers) {
        if (json)
          all[name].push_back(number_json(doc));
        else
          print_number(doc);
      }
      if (!json) std::printf("\n");
      continue;
    }
    for (const Entry& entry : entries_of(name)) {
      if (json)
        all[name].push_back(entry_json(entry));
      else
        print_entry(entry, name == "config");
    }
  }
  if (json) std::printf("%s\n", dump_json(all).c_str());
}

}  // namespace vernier
