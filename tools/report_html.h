// The forms a report takes: page, JSON, text, tables, pictures.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "tools/report_data.h"

namespace vernier {

/// The colour of a run, the same in every output; eight that colour-blind readers can tell apart.
std::string_view run_colour(size_t run);

/// `text` with the five characters that mean something in HTML replaced.
std::string escape_html(std::string_view text);

/// What a page shows: HTML where it stands in tables and lists, and the data of its charts.
struct PageParts {
  std::string names;  // plain text
  std::string summary, cost, statements, notes, configs;
  Json data;
};
PageParts page_parts(const Report& report);

/// The page of `vernier serve`: it asks for plotly.js, report.js, report.json, events and samples.
std::string live_page();
std::string_view plotly_script();
std::string page_script(bool live);

/// The whole page. It holds plotly.js and the data, and may fetch nothing (its policy forbids it).
std::string report_page(const Report& report);

/// The report as one object: what every chart of the page shows. At its top stand the numbers of
/// the first run's last evaluation, under `runs` those of every run and checkpoint. Undefined
/// numbers are null.
Json report_json(const Report& report);

/// The summary for a terminal.
std::string report_text(const Report& report);

/// One chart's data. The header names each column's unit.
struct DataTable {
  std::string name;  // of the file, without suffix
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// The data of the summary and of every chart that has any, but the single responses.
std::vector<DataTable> report_tables(const Report& report);

/// A table as comma-separated values (quoted as in RFC 4180); undefined numbers are empty.
std::string csv_text(const DataTable& table);

/// Draws the charts that have data into `folder` with gnuplot; `format` is "png" or "svg".
/// Returns the names of the files. Throws UsageError where gnuplot is not installed.
std::vector<std::string> write_pictures(const Report& report, const std::string& folder,
                                        const std::string& format);

}  // namespace vernier
