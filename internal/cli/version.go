package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	JSON bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*versionCmd) Help() string {
	return "Example:\n\n    valence version --json\n"
}

// Run prints the version, the revision it was built from, and the platform.
func (c *versionCmd) Run(s *streams) error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{Version: version, Revision: revision(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(v)
	}
	built := v.Revision
	if built != "" {
		built = " " + built
	}
	_, err := fmt.Fprintf(s.out, "valence %s%s (%s, %s)\n", v.Version, built, v.Go, v.Platform)
	return err
}

// revision is the commit that the program was built from, "" if that is not known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return rev + dirty
}
