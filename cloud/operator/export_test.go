package operator

import "valence/cloud"

// Endpoint is a route as tests see it.
type Endpoint struct {
	Name   string // method and path
	Action cloud.Action
}

// Routes lists every endpoint there is.
func Routes() []Endpoint {
	var all []Endpoint
	for _, r := range (&api{}).routes() {
		all = append(all, Endpoint{r.method + " " + r.path, r.action})
	}
	return all
}
