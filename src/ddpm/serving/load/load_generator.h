#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ddpm {

/// Requests for images that many clients send to a server.
struct LoadOptions {
  std::string host = "127.0.0.1";
  int port = 7860;
  std::string key = "";    ///< Sent as a bearer's; empty: none.
  std::string model = "";  ///< As the server names it.
  std::string sampler = "ddim";
  std::vector<int64_t> steps = {10, 20, 50, 100};  ///< Each request takes one of these.
  int64_t num_images = 1;                          ///< Of a request.
  int64_t clients = 32;                            ///< Requests that are open at most.
  double seconds = 20;                             ///< Of sending; answers are waited for.
  /// Requests a second that come whether or not others are answered (open loop, at times of a
  /// Poisson process); 0: each client sends its next when it has its answer (closed loop).
  double rate = 0;
  uint64_t seed = 0;  ///< Of steps, times and images.
};

/// What came of it.
struct LoadReport {
  int64_t answered = 0;           ///< Requests.
  int64_t rejected = 0;           ///< 429 and 503.
  int64_t failed = 0;             ///< All other answers, and none.
  std::string first_failure;      ///< What one of those said.
  int64_t images = 0;             ///< Of answered requests.
  int64_t image_steps = 0;        ///< Of those, their steps.
  double seconds = 0;             ///< From the first request to the last answer.
  std::vector<double> latencies;  ///< Seconds, ascending; in an open loop from when the request was
                                  ///< due, so that none hides by waiting for a client.
  double mean_batch = 0;          ///< Images of a network call; 0 if the server does not tell.

  /// The latency that a share of the answered requests did not exceed, 0 without any.
  double latency(double share) const;
};

/// Sends requests to /v1/generate.
///
/// @throws std::invalid_argument if an option is out of range.
/// @throws std::runtime_error if the server can't be reached at all.
LoadReport generate_load(const LoadOptions& options);

}  // namespace ddpm
