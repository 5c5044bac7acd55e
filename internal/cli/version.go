package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"valence/internal/cli/terminal"
	"valence/internal/version"
)

type versionCommand struct {
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*versionCommand) Help() string {
	return "Example:\n\n    valence version --json\n"
}

// Run prints the version, the revision it was built from, and the platform.
func (c *versionCommand) Run(s *terminal.Streams) error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision,omitempty"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{version.String(), version.Revision(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c.JSON {
		return json.NewEncoder(s.Out).Encode(v)
	}
	revision := v.Revision
	if revision != "" {
		revision = " " + revision
	}
	_, err := fmt.Fprintf(s.Out, "valence %s%s (%s, %s)\n", v.Version, revision, v.Go, v.Platform)
	return err
}
