package console

import "valence/cloud"

// Endpoint is a route as tests see it.
type Endpoint struct {
	Name   string // method and path
	Action cloud.Action
}

// Routes lists every page and everything that pages do, but signing in and out.
func Routes() []Endpoint {
	var all []Endpoint
	for _, r := range (&console{}).routes() {
		all = append(all, Endpoint{r.method + " " + r.path, r.action})
	}
	return all
}

// LocalPath gives where somebody goes after signing in.
func LocalPath(path string) string { return localPath(path) }

// Quoted writes a text for a shell.
func Quoted(text string) string { return quoted(text) }
