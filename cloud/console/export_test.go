package console

import "valence/cloud"

// Routes lists every page and everything that pages do, but signing in and out, by method and path.
func Routes() map[string]cloud.Action {
	all := map[string]cloud.Action{}
	for _, r := range (&console{}).routes() {
		all[r.method+" "+r.path] = r.action
	}
	return all
}

// LocalPath returns the path that sign-in redirects to.
func LocalPath(path string) string { return localPath(path) }

// Quoted writes a text for a shell.
func Quoted(text string) string { return quoted(text) }
