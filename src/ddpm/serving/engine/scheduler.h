#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ddpm {

/// A request as the scheduler sees it: what it has got so far, and what it could use now.
struct Contender {
  double service = 0;                   ///< Rows of network calls so far, over its weight.
  double weight = 1;                    ///< A request of twice the weight gets twice the rows.
  uint64_t order = 0;                   ///< Of arrival: first come, first served among equals.
  std::vector<int64_t> in_flight = {};  ///< Rows that each of its images in flight takes now.
  int64_t num_waiting = 0;              ///< Images that are not in flight yet.
  int64_t rows_of_waiting = 1;          ///< Rows that one of these takes at first.
};

/// What a batch may hold.
struct BatchLimits {
  int64_t max_rows = 1;
  int64_t free_slots = 0;      ///< Images that may be put in flight.
  int64_t reserved_slots = 0;  ///< Of free_slots: for requests with no image in flight.
  std::vector<int64_t> sizes =
      {};  ///< Rows that the network is called with, ascending; empty: any.
};

/// One image of a batch: of contenders[contender], its in_flight[image], or a waiting one if image
/// is in_flight.size() or more.
struct Pick {
  std::size_t contender = 0;
  std::size_t image = 0;
  int64_t rows = 1;
};

/// Fills one network call, image by image, each time for the request with the least service per
/// weight: fair queueing [Demers et al. 1989]. So each of n requests gets the rate that it would
/// have with 1/n of the device, however long it or the others are, and what some can't use is
/// shared by the rest. The images of a request come in their order: first ones end first.
///
/// Where `sizes` says which batches the network takes, a batch is filled up to one or cut back to
/// one: cut_to_size.
///
/// @throws std::invalid_argument unless max_rows is 1 or more and every weight is positive.
std::vector<Pick> pick_batch(const std::vector<Contender>& contenders, const BatchLimits& limits);

/// The size that `rows` rows are padded to: the smallest of `sizes` that holds them, or rows itself
/// if there is none.
int64_t padded_size(int64_t rows, const std::vector<int64_t>& sizes);

/// Rows of a batch that are worth their padding: `rows`, or the next smaller of `sizes` if padding
/// to the next larger one would add more than kMaxPadding of that one. Up to kSmallBatch rows a
/// device is as fast with padding as without, so these are never cut.
inline constexpr double kMaxPadding = 0.2;
inline constexpr int64_t kSmallBatch = 8;
int64_t cut_to_size(int64_t rows, const std::vector<int64_t>& sizes);

}  // namespace ddpm
