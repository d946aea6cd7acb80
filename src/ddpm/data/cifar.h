#pragma once

#include "ddpm/data/image_set.h"

namespace ddpm {

/// Loads the images of CIFAR-10 in its binary version from the folder config.path:
/// data_batch_1.bin to data_batch_5.bin, or for DataSplit::kTest test_batch.bin; class names from
/// batches.meta.txt or, where it is absent, the published ones.
///
/// @return [N, 3, 32, 32] unless config.image_size or config.channels say otherwise.
/// @throws std::runtime_error if a file is absent, is not a whole number of records, or has a label
///         outside of the classes.
ImageSet load_cifar10(const DataConfig& config);

/// Loads the images of CIFAR-100 in its binary version from the folder config.path:
/// train.bin, or for DataSplit::kTest test.bin, with a coarse and a fine label for each image. The
/// fine ones are used, named by fine_label_names.txt, or "0" to "99" where it is absent.
ImageSet load_cifar100(const DataConfig& config);

}  // namespace ddpm
