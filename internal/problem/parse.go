package problem

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Parse reads the result of JSON.
func Parse(text []byte) (*Document, error) {
	var in struct {
		Type, Title, Detail, Execution string
		Status                         int
		Errors                         []Violation
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("read problem document: %w", err)
	}
	code, _ := strings.CutPrefix(in.Type, typePrefix)
	if code == "about:blank" {
		code = ""
	}
	return &Document{Status: in.Status, Code: code, Title: in.Title, Detail: in.Detail, Execution: in.Execution, Errors: in.Errors, Rejected: in.Title == rejected}, nil
}
