#include "tools/report_html.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "tools/report_numbers.h"

extern "C" {
extern const char plotly_js_begin[];
extern const char plotly_js_end[];
extern const char report_html_begin[];
extern const char report_html_end[];
extern const char report_js_begin[];
extern const char report_js_end[];
extern const char report_lengths_js_begin[];
extern const char report_lengths_js_end[];
extern const char report_samples_js_begin[];
extern const char report_samples_js_end[];
extern const char report_start_js_begin[];
extern const char report_start_js_end[];
extern const char report_live_js_begin[];
extern const char report_live_js_end[];
}

namespace vernier {
namespace {

constexpr std::string_view kNone = "–";
constexpr size_t kMaxListedRuns = 6;  // more names are only in the tables

std::string ratio(double numerator, double denominator) {
  return denominator > 0 ? percent_text(numerator / denominator) : std::string(kNone);
}

// "97.6" with "96.9–98.3" below it.
std::string estimate_cell(const Estimate& estimate,
                          const std::function<std::string(double)>& format) {
  std::string out = cat("<td>", format(estimate.value));
  if (!std::isnan(estimate.low) && !std::isnan(estimate.high))
    out += cat("<small>", format(estimate.low), "–", format(estimate.high), "</small>");
  return out + "</td>";
}

std::string cell(std::string_view text, std::string_view below = "") {
  if (below.empty()) return cat("<td>", escape_html(text), "</td>");
  return cat("<td>", escape_html(text), "<small>", escape_html(below), "</small></td>");
}

std::string name_cell(const Report& report, size_t run) {
  const Run& row = report.runs[run];
  return cat("<th scope=\"row\"><i style=\"background:", run_colour(run), "\"></i><span title=\"",
             escape_html(to_valid_utf8(row.path)), "\">", escape_html(row.name), "</span></th>");
}

std::string summary_rows(const Report& report) {
  std::string out;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const Run& run = report.runs[i];
    const auto [start, last] = run.ends();
    const double change = last.mean_length.value / start.mean_length.value - 1;
    const bool evaluated = !run.checkpoints.empty();
    out += cat("<tr>", name_cell(report, i), estimate_cell(start.accuracy, percent_text),
               estimate_cell(last.accuracy, percent_text),
               estimate_cell(start.mean_length, tokens_text),
               estimate_cell(last.mean_length, tokens_text));
    const std::string_view sign = change < 0 ? "−" : "+";
    out += cell(std::isnan(change) ? kNone : cat(sign, fixed(100 * std::abs(change), 0), " %"));
    out += estimate_cell(run.area, percent_text);
    out += cell(tokens_text(last.tokens_per_correct())) + cell(percent_text(run.clipped_ratio()));
    out += evaluated
               ? cell(whole_text(last.num_answers), cat(whole_text(last.num_prompts), " prompts"))
               : cell(kNone);
    out += cat(cell(whole_text(run.num_steps())), cell(seconds_text(run.wall_s())), "</tr>\n");
  }
  return out;
}

std::string cost_rows(const Report& report) {
  std::string out;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const Run& run = report.runs[i];
    const auto [start, last] = run.ends();
    double all = 0, wrong = 0;
    for (const JudgedAnswer& answer : run.last.rows) {
      if (!answer.correct) continue;
      all += static_cast<double>(answer.num_tokens);
      if (!*answer.correct) wrong += static_cast<double>(answer.num_tokens);
    }
    const SampledTokens& sum = run.sampled.tokens;
    const auto sampled = static_cast<double>(sum.tokens),
               right = static_cast<double>(sum.num_right);
    out +=
        cat("<tr>", name_cell(report, i), cell(tokens_text(start.tokens_per_correct())),
            cell(tokens_text(last.tokens_per_correct())),
            cell(ratio(wrong, all),
                 all > 0 ? cat(whole_text(static_cast<int64_t>(run.last.rows.size())), " answers")
                         : ""));
    out += sum.num_steps == 0
               ? cat(cell(kNone), cell(kNone), cell(kNone))
               : cat(cell(whole_text(sum.tokens), cat(whole_text(sum.num_answers), " answers, ",
                                                      whole_text(sum.num_steps), " steps")),
                     cell(right > 0 ? tokens_text(sampled / right) : kNone),
                     cell(ratio(sampled - static_cast<double>(sum.right_tokens), sampled)));
    const double time = run.wall_s() / static_cast<double>(std::max<int64_t>(1, run.num_steps()));
    out += cat(cell(seconds_text(run.wall_s())), cell(std::isnan(time) ? kNone : fixed(time, 2)),
               "</tr>\n");
  }
  return out;
}

std::string start_statements(const Report& report) {
  std::string out;
  for (const StartPolicy& start : report.starts)
    out += cat("<p class=\"statement\">",
               report.starts.size() > 1 ? cat("<b>", escape_html(join(start.runs)), "</b>: ") : "",
               escape_html(inverted_u_statement(start)), "</p>\n");
  return out;
}

std::string note_list(const Report& report) {
  if (report.notes.empty()) return "";
  std::string out = "<section><h2>Notes</h2><ul>\n";
  for (const std::string& note : report.notes) out += cat("<li>", escape_html(note), "</li>\n");
  return out + "</ul></section>\n";
}

std::string config_blocks(const Report& report) {
  std::string out;
  for (size_t i = 0; i < report.runs.size(); ++i) {
    const Run& run = report.runs[i];
    if (run.config.empty()) continue;
    out += cat("<details><summary><i style=\"background:", run_colour(i), "\"></i>",
               escape_html(run.name), "</summary><pre>", escape_html(to_valid_utf8(run.config)),
               "</pre></details>\n");
  }
  return out.empty() ? "" : cat("<section><h2>Configurations</h2>\n", out, "</section>\n");
}

// JSON that may stand in a script element: nothing in it closes the element or opens a comment.
std::string json_for_script(const Json& value) {
  std::string out;
  for (const char c : dump_json(value)) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

// Replaces each {{name}} once; what is put in is not looked at again.
std::string fill_page(std::string_view page,
                      const std::vector<std::pair<std::string_view, std::string_view>>& parts) {
  std::string out;
  while (true) {
    const size_t open = page.find("{{");
    out += page.substr(0, open);
    if (open == std::string_view::npos) return out;
    const size_t close = page.find("}}", open);
    ensure(close != std::string_view::npos, "every {{ of the report's page is closed");
    const std::string_view name = page.substr(open + 2, close - open - 2);
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& entry) { return entry.first == name; });
    ensure(part != parts.end(), cat("the report's page names a part '", name, "' that exists"));
    out += part->second;
    page.remove_prefix(close + 2);
  }
}

std::string_view view(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

std::string page_of(const PageParts& parts, const Bootstrap& bootstrap, const std::string& policy,
                    const std::string& scripts, const std::string& live) {
  const std::string names = escape_html(parts.names);
  const std::string data = json_for_script(parts.data);
  const std::string draws = whole_text(bootstrap.draws), seed = cat(bootstrap.seed);
  return fill_page(view(report_html_begin, report_html_end), {{"runs", names},
                                                              {"policy", policy},
                                                              {"live", live},
                                                              {"draws", draws},
                                                              {"seed", seed},
                                                              {"summary", parts.summary},
                                                              {"cost", parts.cost},
                                                              {"statements", parts.statements},
                                                              {"notes", parts.notes},
                                                              {"configs", parts.configs},
                                                              {"data", data},
                                                              {"scripts", scripts}});
}

}  // namespace

std::string_view run_colour(size_t run) {
  // Okabe and Ito's palette less yellow and black, which vanish on white and on dark, then two of
  // Paul Tol's muted scheme.
  constexpr std::array<std::string_view, 8> kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                        "#E69F00", "#56B4E9", "#882255", "#999933"};
  return kColours[run % kColours.size()];
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

PageParts page_parts(const Report& report) {
  std::vector<std::string> names;
  for (const Run& run : report.runs) names.push_back(run.name);
  PageParts out;
  out.names = names.size() > kMaxListedRuns
                  ? cat(names.size(), " runs")
                  : cat(names.size() == 1 ? "run " : "runs ", join(names));
  out.summary = summary_rows(report);
  out.cost = cost_rows(report);
  out.statements = start_statements(report);
  out.notes = note_list(report);
  out.configs = config_blocks(report);
  out.data = report_json(report);
  return out;
}

std::string_view plotly_script() { return view(plotly_js_begin, plotly_js_end); }

std::string page_script(bool live) {
  std::string out = "'use strict';\n(() => {\n";
  out += view(report_js_begin, report_js_end);
  out += view(report_lengths_js_begin, report_lengths_js_end);
  out += view(report_samples_js_begin, report_samples_js_end);
  out += view(report_start_js_begin, report_start_js_end);
  if (live) out += view(report_live_js_begin, report_live_js_end);
  return out + "})();\n";
}

std::string report_page(const Report& report) {
  const PageParts parts = page_parts(report);
  return page_of(
      parts, report.settings.bootstrap,
      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
      "img-src data: blob:",
      cat("<script>", plotly_script(), "</script>\n<script>", page_script(false), "</script>\n"),
      "");
}

std::string live_page() {
  PageParts parts;
  parts.names = "runs";
  return page_of(parts, {},
                 "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data: "
                 "blob:; connect-src 'self'",
                 "<script src=\"plotly.js\"></script>\n<script src=\"report.js\"></script>\n",
                 "<p class=\"soft\" id=\"live-state\" role=\"status\">Reading the runs …</p>\n");
}

}  // namespace vernier
