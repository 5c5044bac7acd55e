package cli

import "valence/processes"

type schemaCmd struct{}

// Help is shown below the command's summary.
func (*schemaCmd) Help() string {
	return "Editors with a YAML language server complete and check with it.\n\nExample:\n\n    valence schema > schema.json\n"
}

// Run prints the schema.
func (*schemaCmd) Run(s *streams) error {
	_, err := s.out.Write(processes.Schema(catalog()))
	return err
}
