package operator

import "valence/cloud"

// Routes lists every endpoint there is, by method and path.
func Routes() map[string]cloud.Action {
	all := map[string]cloud.Action{}
	for _, r := range (&api{}).routes() {
		all[r.method+" "+r.path] = r.action
	}
	return all
}
