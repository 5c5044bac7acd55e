package project

import (
	"io"
	"path/filepath"

	"valence/internal/cli/terminal"
	"valence/internal/fault"
	"valence/internal/version"
)

// The parts of SARIF 2.1.0 that lint writes.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Columns string        `json:"columnKind"`
		Results []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		Line int `json:"startLine,omitempty"`
		Col  int `json:"startColumn,omitempty"`
	}
)

// printSARIF prints problems as SARIF, which code scanning services read.
func printSARIF(w io.Writer, problems fault.Problems) error {
	r := sarifRun{Columns: "unicodeCodePoints", Results: []sarifResult{}}
	r.Tool.Driver = sarifDriver{Name: "valence", Version: version.String(), Rules: []sarifRule{}}
	seen := map[fault.Code]bool{}
	for _, p := range problems {
		if !seen[p.Code] {
			seen[p.Code] = true
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, sarifRule{string(p.Code)})
		}
		message := p.Msg
		if p.Hint != "" {
			message += "\nTry: " + p.Hint
		}
		result := sarifResult{Rule: string(p.Code), Level: p.Severity.String(), Message: sarifText{message}}
		if p.File != "" {
			var at sarifLocation
			at.Physical.Artifact.URI = filepath.ToSlash(p.File)
			if p.Line > 0 {
				at.Physical.Region = &sarifRegion{p.Line, p.Col}
			}
			result.Locations = []sarifLocation{at}
		}
		r.Results = append(r.Results, result)
	}
	return terminal.EncodeJSON(w, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{r}})
}
