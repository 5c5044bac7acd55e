// Package share divides the limits of a group of atoms among its members.
package share

// Of returns the part of a limit that one member may use; at least 1. A limit of
// 0 is none.
func Of(limit, members int) int {
	if limit <= 0 || members <= 1 {
		return limit
	}
	return max(1, limit/members)
}
