#include "ddpm/serving/api/service_metrics.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <unistd.h>

#include "ddpm/serving/api/prometheus_text.h"

namespace ddpm {
namespace {

constexpr std::array<const char*, kNumOutcomes> kOutcomeWords{
    "done", "non_finite", "cancelled", "timed_out", "failed", "stopped"};

double number(uint64_t count) { return static_cast<double>(count); }
double number(int64_t count) { return static_cast<double>(count); }

void write_queue(PrometheusText& text, const EngineStats& stats) {
  text.gauge("ddpm_engine_open_requests", "Requests accepted and not ended.",
             number(stats.open_requests));
  text.gauge("ddpm_engine_running_requests", "Open requests whose turn has come.",
             number(stats.running_requests));
  text.gauge("ddpm_engine_open_images", "Images accepted and not ended.",
             number(stats.open_images));
  text.gauge("ddpm_engine_in_flight_images", "Open images with a state on the device.",
             number(stats.in_flight_images));
  text.gauge("ddpm_engine_open_calls", "Network calls of an image that open requests need.",
             number(stats.open_calls));
  text.gauge("ddpm_engine_state_bytes", "Memory of the states of images.",
             number(stats.state_bytes));
  text.gauge("ddpm_engine_plan_bytes", "Memory of the sampler plans.", number(stats.plan_bytes));
  for (size_t i = 0; i < kNumOutcomes; ++i) {
    text.counter("ddpm_engine_requests_total", "Requests that ended, by how.",
                 number(stats.ended[i]), {{"outcome", kOutcomeWords[i]}});
  }
  constexpr const char* kRejected = "Requests that were not taken in, by why.";
  text.counter("ddpm_engine_rejected_total", kRejected, number(stats.rejected_full),
               {{"reason", "queue_full"}});
  text.counter("ddpm_engine_rejected_total", kRejected, number(stats.rejected_draining),
               {{"reason", "draining"}});
}

void write_steps(PrometheusText& text, const EngineStats& stats) {
  text.histogram("ddpm_engine_batch_images", "Images of a network call.", stats.batch_images.bounds,
                 stats.batch_images.counts, stats.batch_images.sum);
  text.histogram(
      "ddpm_engine_step_seconds",
      "Seconds of a network call until its events are told, from gathering its images or "
      "from the events of the call before, whichever came later.",
      stats.step_seconds.bounds, stats.step_seconds.counts, stats.step_seconds.sum);
  text.counter("ddpm_engine_rows_total", "Rows of network calls: images, and guided ones again.",
               number(stats.rows));
  text.counter("ddpm_engine_padded_rows_total", "Rows that only filled a batch size.",
               number(stats.padded_rows));
  text.counter("ddpm_engine_lent_calls_total", "Network calls for edits.",
               number(stats.lent_calls));
  text.counter("ddpm_engine_images_total", "Images drawn.", number(stats.images_done));
  text.counter("ddpm_engine_images_non_finite_total",
               "Images given up because they were not finite.", number(stats.images_non_finite));
  text.counter("ddpm_engine_failed_calls_total", "Network calls that failed.",
               number(stats.failed_calls));
  text.gauge("ddpm_engine_failed_calls_in_row", "Failed network calls since one that did not fail.",
             number(stats.failed_calls_in_row));
  text.counter("ddpm_engine_out_of_memory_total",
               "Network calls taken back to be made with fewer images.",
               number(stats.out_of_memory));
}

void write_models(PrometheusText& text, const ModelPoolStats& stats) {
  text.gauge("ddpm_models_resident", "Models in memory.", number(stats.num_resident));
  text.gauge("ddpm_model_bytes", "Memory of their weights.", number(stats.resident_bytes));
  text.counter("ddpm_model_loads_total", "Models read.", number(stats.num_loads));
  text.counter("ddpm_model_load_failures_total", "Models that could not be read.",
               number(stats.num_failed_loads));
  text.counter("ddpm_model_evictions_total", "Models put out of memory.",
               number(stats.num_evictions));
}

/// A number of /proc/self/statm, in bytes: 0 the address space, 1 what is resident.
double statm_bytes(int field) {
  std::ifstream file("/proc/self/statm");
  double pages = 0;
  for (int i = 0; i <= field; ++i) file >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// Seconds of the processor that this process has used, user and system.
double cpu_seconds() {
  std::ifstream file("/proc/self/stat");
  std::stringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 2, text.size())));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double open_files() {
  std::error_code error;
  const std::filesystem::directory_iterator all("/proc/self/fd", error);
  if (error) return 0;
  return static_cast<double>(std::distance(begin(all), end(all)));
}

}  // namespace

std::string engine_metrics(const EngineStats& stats) {
  PrometheusText text;
  write_queue(text, stats);
  write_steps(text, stats);
  write_models(text, stats.models);
  return text.text();
}

std::string jobs_metrics(const JobsStats& stats) {
  PrometheusText text;
  constexpr const char* kJobs = "Jobs kept, by state.";
  text.gauge("ddpm_jobs", kJobs, number(stats.queued), {{"state", "queued"}});
  text.gauge("ddpm_jobs", kJobs, number(stats.running), {{"state", "running"}});
  text.gauge("ddpm_jobs", kJobs, number(stats.over), {{"state", "over"}});
  text.gauge("ddpm_job_result_bytes", "Memory of the results kept.", number(stats.result_bytes));
  text.counter("ddpm_jobs_refused_total", "Requests for whose results there was no room.",
               number(stats.refused));
  text.counter("ddpm_job_store_failed_writes_total", "Writes to the file of kept jobs that failed.",
               number(stats.failed_store_writes));
  return text.text();
}

std::string process_metrics(const std::string& version) {
  PrometheusText text;
  text.gauge("ddpm_build_info", "1, with the program's version.", 1, {{"version", version}});
  text.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", statm_bytes(1));
  text.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", statm_bytes(0));
  text.counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.",
               cpu_seconds());
  text.gauge("process_open_fds", "Number of open file descriptors.", open_files());
  return text.text();
}

}  // namespace ddpm
