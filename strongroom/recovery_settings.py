"""`[recovery]`: the objectives that a recovery is held to, how it treats a live database, and what validates it."""

from typing import Literal

from pydantic import Field, field_validator

from strongroom.setting_types import Count, Duration, LocalPath, Percentage, Section

ApiRole = Literal["", "anon", "authenticated", "service_role"]


class SmokeCheck(Section):
    """One SQL question of the user's: it holds if it returns one row whose first column is true.

    It is asked as `role` (by SET ROLE), empty for the connection's own, in a read-only transaction.
    """

    name: str = Field(min_length=1, examples=["robots can be seen"])
    sql: str = Field(min_length=1, examples=["SELECT count(*) > 0 FROM public.trading_robots"])
    role: ApiRole = ""


class RecoverySettings(Section):
    """The objectives that a recovery is held to, how it treats a live database, and what validates it."""

    max_recovery_time: Duration = Field(1800.0, examples=["30 min"])
    verification_timeout: Duration = Field(300.0, examples=["5 min"])
    rollback_timeout: Duration = Field(600.0, examples=["10 min"])
    max_data_loss_percent: Percentage = Field(5.0, examples=[5])
    min_recovery_point_age: Duration = Field(86400.0, examples=["24 h"])
    rollback_strategy: Literal["immediate", "graceful", "manual"] = Field("immediate", examples=["graceful"])
    lock_timeout: Duration = Field(3.0, gt=0, examples=["3 s"])
    lock_attempts: Count = Field(20, ge=1, le=1000, examples=[20])
    approval_timeout: Duration = Field(3600.0, gt=0, examples=["1 h"])
    expectations: LocalPath | None = Field(None, examples=["expectations"])
    smoke_checks: tuple[SmokeCheck, ...] = Field(
        (),
        examples=[[{"name": "robots can be seen", "sql": "SELECT count(*) > 0 FROM public.trading_robots"}]],
    )
    health_urls: tuple[str, ...] = Field((), examples=[["https://app.example.com/health"]])
    health_timeout: Duration = Field(10.0, gt=0, examples=["10 s"])

    @field_validator("health_urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if not all(url.startswith(("http://", "https://")) for url in urls):
            raise ValueError("has an address that begins with neither http:// nor https://")
        return urls
