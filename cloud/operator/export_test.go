package operator

import "valence/cloud"

// Routes returns the action of every endpoint, by method and path.
func Routes() map[string]cloud.Action {
	all := map[string]cloud.Action{}
	for _, r := range (&api{}).routes() {
		all[r.method+" "+r.path] = r.action
	}
	return all
}
