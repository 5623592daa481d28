//go:build tools

// Package tools names the programs of runtime-tools that the tests build, so that go.sum pins what they need.
package tools

import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/create"
	_ "github.com/opencontainers/runtime-tools/validation/linux_cgroups_hugetlb"
)
