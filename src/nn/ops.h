/* The operations of a network, on one group. */
#ifndef MC_NN_OPS_H
#define MC_NN_OPS_H

#include "nn/group.h"

/*
 * Computes the network on a group, or this member's share of it. After another member has failed it
 * stops early with MC_OK.
 */
mc_status mc_group_run(const mc_group *group, mc_error *error);

#endif
