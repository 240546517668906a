// Bounds that hold for any distribution and any number of values.
#pragma once

#include <span>

namespace vernier {

/// Lower bound of the mean of independent values in [low, high]: it lies above the true mean with a
/// probability of at most `alpha`, for every number of values and without assumptions on their
/// distribution. `low` where there are too few values to say more.
///
/// The largest m at which a gambler who bets that the mean is above m has not multiplied the stake
/// by 1 / alpha:  prod_i (1 + bet_i (y_i - m)) < 1 / alpha,  y the values on [0, 1],
///
///   bet_i = min(sqrt(2 ln(1/alpha) / (n v_i)), 3 / (4 m)),  v_i the variance of the values before
///   i
///
/// The order of the values matters a little; it must not depend on them.
/// Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
/// arXiv:2010.09686, section 4, one-sided.
double lower_mean_bound(std::span<const double> values, double low, double high, double alpha);

}  // namespace vernier
