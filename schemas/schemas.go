// Package schemas holds the JSON Schema of the language, generated from the
// declarations of its keys.
package schemas

import _ "embed"

//go:generate go run valence/internal/generate/cmd/language project.json ../docs/reference/language.md ../docs/reference/connectors.md
//go:generate go run valence/internal/generate/cmd/metrics ../docs/reference/metrics.md
//go:generate go run valence/internal/generate/cmd/expressions ../docs/reference/expressions.md
//go:generate go run valence/internal/generate/cmd/drawings ../examples ../docs/explanation/pictures
//go:generate go test valence/internal/catalogue -run ^TestPages$ -update
//go:generate go test valence/internal/cli -run ^TestReference$ -update

// Project is the schema of the components of a project, as `valence schema`
// prints it.
//
//go:embed project.json
var Project []byte
