package project

import (
	"valence/internal/cli/terminal"
	"valence/processes/language"
)

// SchemaCommand prints the JSON Schema of the language.
type SchemaCommand struct{}

// Help returns the text below the command's summary.
func (*SchemaCommand) Help() string {
	return `Editors with a YAML language server use it to complete and check project files.

Example:

    valence schema > schema.json
`
}

// Run prints the schema.
func (*SchemaCommand) Run(s *terminal.Streams) error {
	_, err := s.Out.Write(language.Schema(Catalog()))
	return err
}
