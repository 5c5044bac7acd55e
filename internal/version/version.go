// Package version identifies this build of the program.
package version

import "runtime/debug"

// version is the program's version. Release builds set it with -ldflags -X;
// nothing else does.
var version = "0.1.0"

// String returns the version, such as 1.4.0.
func String() string { return version }

// Revision returns the first 12 digits of the commit the program was built
// from, with "+changes" if the work tree was modified. It is empty if unknown.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	return revision + modified
}
