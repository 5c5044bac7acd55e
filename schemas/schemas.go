// Package schemas holds the JSON Schema of the language, generated from the
// declarations of its keys.
package schemas

import _ "embed"

//go:generate go run valence/internal/generate/cmd/language project.json ../docs/reference.md
//go:generate go run valence/internal/generate/cmd/metrics ../docs/metrics.md

// Project is the schema of the components of a project, as `valence schema`
// prints it.
//
//go:embed project.json
var Project []byte
