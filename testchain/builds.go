package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	upgradetypes "cosmossdk.io/x/upgrade/types"
	"github.com/cosmos/cosmos-sdk/types/module"
)

// What makes one build another: both are set at link time by the script `build`.
var (
	// plans holds the names of the upgrade plans that this build applies, comma separated. Empty: the first build,
	// which halts on every plan. The variable TESTCHAIN_PLANS adds more, so that one binary can stand for a series of releases.
	plans string
	// broken, if not empty, makes this build panic at the first block after a plan of its own was applied.
	broken string
)

func planNames() []string {
	return strings.FieldsFunc(plans+","+os.Getenv("TESTCHAIN_PLANS"), func(r rune) bool { return r == ',' })
}

func (c *chain) registerHandlers() {
	migrate := func(ctx context.Context, _ upgradetypes.Plan, from module.VersionMap) (module.VersionMap, error) {
		return c.ModuleManager.RunMigrations(ctx, c.Configurator(), from)
	}
	for _, name := range planNames() {
		c.upgrades.SetUpgradeHandler(name, migrate)
	}
}

// breakIfMeantTo panics at the block after an upgrade of this build, as a bad release does: the upgrade itself is committed.
func (c *chain) breakIfMeantTo(height int64) {
	if broken == "" || height < 2 {
		return
	}
	ctx, err := c.CreateQueryContext(height-1, false)
	if err != nil {
		return
	}
	name, at, err := c.upgrades.GetLastCompletedUpgrade(ctx)
	if err == nil && at == height-1 && c.upgrades.HasHandler(name) {
		panic(fmt.Sprintf("this build is broken on purpose: it cannot make block %d, the first after the upgrade %q", height, name))
	}
}
